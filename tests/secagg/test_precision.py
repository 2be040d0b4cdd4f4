"""The encoder's bounds hold, rotated or not, however the weights are put in."""

import itertools
import math
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import secagg
from secagg import encode, precision, usage
from secagg.encoder import ENCODER_BYTES, Encoder, decode_encoder
from secagg.errors import DecodeError, ParameterError
from secagg.offered import check_form
from secagg.prg import simulation_rng
from tests.secagg import encode_oracle

CONTEXT = usage.context(b"precision")
ROUND = bytes(32)
MODES = list(itertools.product((False, True), repeat=2))


def words_of(encoder, vector, weight=1, *, clients=5, key=bytes(32), context=CONTEXT):
    where = encode.layout(encoder, clients=clients, length=len(vector))
    given = check_form(vector)
    words = encode.encode(encoder, where, given, weight, context=context, key=key)
    encode.seal(where, words, ROUND, context)
    return where, words


def sum_of(encoder, vectors, weights, *, seed=1):
    total = 0
    rng = simulation_rng(seed, "keys")
    for vector, weight in zip(vectors, weights, strict=True):
        where, words = words_of(
            encoder, vector, weight, clients=len(vectors), key=rng(32)
        )
        total = total + words
    return encode.decode_sum(
        encoder, where, total, ROUND, CONTEXT, clients=len(vectors)
    )


def spiky(length, count, *, clip=1.0, seed=0):
    """Return vectors of norm ``clip`` with a few large values."""
    values = np.random.default_rng(seed).standard_t(2, (count, length))
    return values * (clip / np.linalg.norm(values, axis=1, keepdims=True))


@pytest.mark.parametrize(("rotate", "prescale"), MODES)
@pytest.mark.parametrize("value_bits", [2, 8, 20])
@pytest.mark.parametrize("length", [64, 65, 256, 300])
def test_words_are_those_of_the_slow_oracle(rotate, prescale, value_bits, length):
    encoder = Encoder(
        clip_norm_l2=1.0,
        value_bits=value_bits,
        weight_max=9,
        rotate=rotate,
        prescale=prescale,
    )
    vector = spiky(length, 1, seed=length)[0].astype(np.float32)
    setting = encode_oracle.Setting(
        clip=1.0,
        value_bits=value_bits,
        weight_max=9,
        rotate=rotate,
        prescale=prescale,
        clients=5,
        scale=encoder.at(length).scale,
        version=usage.VERSION,
    )
    key = simulation_rng(length)(32)
    where, words = words_of(encoder, vector, 7, key=key)
    given = [float(value) for value in vector]
    bound = {"key": key, "context": CONTEXT, "round_id": ROUND}
    expected = encode_oracle.words(setting, given, 7, **bound)
    got = where.ring.reduce(words).tolist()
    if not rotate or value_bits < 20:  # float32 storage moves what has 20 bits
        assert got == expected
    else:
        gaps = (
            where.ring.center(words[:length])
            - np.array(
                [
                    word - 2**where.ring.bits * (word >> where.ring.bits - 1)
                    for word in expected
                ]
            )[:length]
        )
        assert np.abs(gaps).max() <= 7 and got[length] == expected[length]


@pytest.mark.parametrize(("rotate", "prescale"), MODES)
@pytest.mark.parametrize("value_bits", [2, 6, 16, 24, 32])
@pytest.mark.parametrize("length", [3, 64, 1000, 20_000])
def test_a_mean_is_within_its_stated_error(rotate, prescale, value_bits, length):
    encoder = Encoder(
        clip_norm_l2=3.0,
        value_bits=value_bits,
        weight_max=40,
        rotate=rotate,
        prescale=prescale,
    )
    vectors, weights = spiky(length, 4, clip=3.0), [1, 40, 17, 3]
    out = sum_of(encoder, vectors, weights)
    assert out.weight == 61
    exact = np.average(vectors, axis=0, weights=weights)
    error = np.abs(out.mean.astype(np.float32) - exact).max()
    assert error <= out.max_error <= encoder.at(length).max_error
    assert error > out.max_error / 1e4  # the bound is not idle


@pytest.mark.parametrize("value_bits", [4, 8])
def test_with_few_bits_a_rotation_lowers_error_and_bound(value_bits):
    plain = Encoder(clip_norm_l2=1.0, value_bits=value_bits, weight_max=1)
    vectors = spiky(1 << 14, 4)
    exact = vectors.mean(axis=0)
    errors = [
        np.linalg.norm(sum_of(encoder, vectors, [1] * 4).mean - exact)
        for encoder in (plain, replace(plain, rotate=True))
    ]
    assert errors[1] * 4 < errors[0]
    bounds = [replace(plain, rotate=r).at(1 << 14).max_error for r in (False, True)]
    assert bounds[1] * 4 < bounds[0]


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("length", [64, 700])
def test_integers_stay_within_both_norms(rotate, length):
    encoder = Encoder(clip_norm_l2=1.0, value_bits=8, weight_max=1, rotate=rotate)
    one = np.zeros(length)
    one[5] = -encoder.norm_limit
    for vector in (one, *spiky(length, 3)):
        where, words = words_of(encoder, vector)
        q = where.ring.center(words[:length])
        assert np.abs(q).max() <= encoder.linf_bound == encoder.at(length).linf_bound
        assert np.linalg.norm(q.astype(float)) <= encoder.l2_bound(length)


def test_values_beyond_the_range_are_cut_and_not_wrapped(monkeypatch):
    encoder = Encoder(clip_norm_l2=1.0, value_bits=8, weight_max=1, rotate=True)
    monkeypatch.setattr(precision.rotation, "spread", lambda length, chance: 1e-2)
    vectors = spiky(500, 3)
    for vector in vectors:
        where, words = words_of(encoder, vector)
        q = where.ring.center(words[:500])
        assert (np.abs(q) >= encoder.linf_bound - 1).sum() > 100
        assert np.abs(q).max() <= encoder.linf_bound
        assert np.linalg.norm(q.astype(float)) <= encoder.l2_bound(500)
    out = sum_of(encoder, vectors, [1, 1, 1])
    error = np.abs(out.mean - vectors.mean(axis=0)).max()
    assert out.max_error < error <= encoder.at(500).cut_error


def test_saturation_is_stated_with_rotation_only():
    assert Encoder().at(100).saturation == 0.0
    assert Encoder(rotate=True).at(100).saturation == 2.0**-20
    assert Encoder(rotate=True).at(63) == Encoder().at(63)


def test_numbers_that_depend_on_the_length_are_refused_without_one():
    for name in ("scale", "max_error"):
        with pytest.raises(ParameterError, match=r"use encoder.at\(length\)"):
            getattr(Encoder(rotate=True), name)


@pytest.mark.parametrize(("rotate", "prescale"), MODES)
def test_the_wire_form_is_canonical(rotate, prescale):
    encoder = Encoder(value_bits=9, rotate=rotate, prescale=prescale)
    data = encoder.encode()
    assert len(data) == ENCODER_BYTES and decode_encoder(data) == encoder
    for bad in (data[:-1] + b"\4", data[:8] + b"\1" + data[9:], bytes(8) + data[8:]):
        with pytest.raises(DecodeError):
            decode_encoder(bad)


@pytest.mark.parametrize(
    "change", [{"rotate": 1}, {"prescale": "yes"}, {"rotate": None}]
)
def test_options_must_be_booleans(change):
    with pytest.raises(ParameterError, match="must be True or False"):
        Encoder(**change)


@pytest.mark.parametrize("prescale", [False, True])
@pytest.mark.parametrize("rotate", [None, False, True])
@pytest.mark.parametrize("wanted", [0.1, 1e-3, 1e-5])
def test_for_error_takes_the_fewest_bits(wanted, rotate, prescale):
    sizes = {"clients": 100, "length": 100_000}
    encoder = Encoder.for_error(
        wanted,
        clip_norm_l2=2.0,
        weight_max=7,
        rotate=rotate,
        prescale=prescale,
        **sizes,
    )
    assert encoder.at(100_000).max_error <= wanted
    turns = (False, True) if rotate is None else (rotate,)
    if encoder.value_bits > 2:
        fewer = replace(encoder, value_bits=encoder.value_bits - 1)
        for turn in turns:
            assert replace(fewer, rotate=turn).at(100_000).max_error > wanted
    assert encoder.rotate in turns


def test_for_error_says_why_it_cannot():
    sizes = {"clients": 10, "length": 1000}
    with pytest.raises(ParameterError, match="out of reach: 32 bits give"):
        Encoder.for_error(1e-12, **sizes)
    with pytest.raises(ParameterError, match="more than 64; lower"):
        Encoder.for_error(1e-6, weight_max=(1 << 32) - 1, clients=10**6, length=1000)


def test_for_error_rotates_where_that_saves_bits():
    for length, rotates in ((1000, False), (100_000, True)):
        encoder = Encoder.for_error(1e-3, clients=10, length=length)
        plain = Encoder.for_error(1e-3, clients=10, length=length, rotate=False)
        assert encoder.rotate == (encoder.value_bits < plain.value_bits) == rotates


@pytest.mark.parametrize("weight_max", [1, 100, 65535])
def test_prescaled_weights_take_no_room_in_the_ring(weight_max):
    encoder = Encoder(value_bits=16, weight_max=weight_max, prescale=True)
    where = encode.layout(encoder, clients=1000, length=10**6)
    assert where.ring.bits == 26 and where.packed_bytes / 10**6 <= 3.3


def test_the_stated_error_holds_both_ways_of_a_rotation_in_float32():
    drift = precision.rotation.RELATIVE_ERROR
    fine = Encoder(clip_norm_l2=2.0, value_bits=32, rotate=True).at(1 << 20)
    rounded = 2.0 * 2.0**-24
    assert 2 * 2.0 * drift < fine.max_error < 2 * 2.001 * drift + rounded
    # Coarse steps, and noise, are turned back too, with a norm of their own.
    coarse = Encoder(clip_norm_l2=2.0, value_bits=2, weight_max=1, rotate=True)
    for noise_bits in (0, 6):
        numbers = replace(coarse, noise_bits=noise_bits).at(1 << 20)
        norm = 2.0 + 2**10 * (1 + (31 if noise_bits else 0)) / numbers.scale
        assert numbers.cut_error > norm * (1 + drift)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_beyond_all_prescaled_values_is_refused(sign):
    encoder = Encoder(value_bits=8, weight_max=10, prescale=True)
    where = encode.layout(encoder, clients=3, length=1)
    bound = encoder.linf_bound * 6 // 10 + 2  # weight 6 in all, two clients
    for excess in (0, 1):
        words = where.ring.zeros(where.words)
        value = np.array([sign * (bound + excess)], dtype=np.int64)
        words[:1] = where.ring.from_signed(value)
        words[1] = 6
        encode.seal(where, words, ROUND, CONTEXT)
        given = (encoder, where, words, ROUND, CONTEXT)
        if excess:
            with pytest.raises(secagg.IntegrityError):
                encode.decode_sum(*given, clients=2)
        else:
            encode.decode_sum(*given, clients=2)


@pytest.mark.parametrize(("rotate", "prescale"), MODES)
def test_a_whole_round_keeps_the_stated_error(rotate, prescale):
    encoder = Encoder(
        clip_norm_l2=2.0, value_bits=10, weight_max=20, rotate=rotate, prescale=prescale
    )
    plan = secagg.plan(5, 1, 1, encoder=encoder)
    vectors = spiky(200, 5, clip=2.0)
    updates = {f"c{i}": vector for i, vector in enumerate(vectors)}
    weights = {name: 4 * i + 1 for i, name in enumerate(updates)}
    out = secagg.run_round(plan, updates, weights=weights, seed=3)
    exact = np.average(vectors, axis=0, weights=list(weights.values()))
    assert np.abs(out.mean - exact).max() <= out.max_error
    assert out.weight == sum(weights.values())


def test_another_context_is_another_rotation():
    encoder = Encoder(value_bits=12, weight_max=1, rotate=True)
    vector = spiky(128, 1)[0]
    _, a = words_of(encoder, vector)
    _, b = words_of(encoder, vector, context=usage.context(b"other"))
    assert (a[:128] == b[:128]).mean() < 0.2


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_memory_layout_and_byte_order_change_nothing(rotate, dtype):
    encoder = Encoder(value_bits=16, weight_max=3, rotate=rotate)
    values = spiky(500, 1)[0].astype(dtype)
    values.flags.writeable = False
    before = values.tobytes()
    _, words = words_of(encoder, values.astype(np.float64))
    spread = np.repeat(values, 3)[::3]
    backwards = values[::-1].copy()[::-1]
    for same in (values, spread, backwards, values.tolist()):
        assert np.array_equal(words_of(encoder, same)[1], words)
    assert values.tobytes() == before


def test_a_masked_array_is_refused():
    hidden = np.ma.masked_array(np.ones(3), mask=[0, 1, 0])
    with pytest.raises(ParameterError, match="masked array"):
        check_form(hidden)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, 50.0])
@pytest.mark.parametrize("at", [0, 70_000])
@pytest.mark.parametrize("rotate", [False, True])
def test_a_bad_value_anywhere_gives_no_words(bad, at, rotate):
    encoder = Encoder(value_bits=16, rotate=rotate)
    vector = np.zeros(70_001)
    vector[at] = bad
    cure = "clip the update" if math.isfinite(bad) else "not finite"
    with pytest.raises(ParameterError, match=cure):
        words_of(encoder, vector)


def test_the_norm_is_that_of_the_whole_vector():
    for rotate in (False, True):
        with pytest.raises(ParameterError, match="L2 norm above"):
            words_of(Encoder(rotate=rotate), np.full(100, 2.0))
        words_of(Encoder(rotate=rotate), np.full(100, 1.6))


@pytest.mark.parametrize(("rotate", "models"), [(False, 1.0), (True, 2.0)])
def test_encoding_needs_words_and_little_more(rotate, models):
    length = 1 << 20
    vector = np.full(length, 1e-3, dtype=np.float32)
    encoder = Encoder(value_bits=16, weight_max=1, rotate=rotate)
    words_of(encoder, vector[:100])
    tracemalloc.start()
    words_of(encoder, vector, clients=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < models * vector.nbytes + (3 << 20)


def test_the_plain_error_is_what_it_was():
    for bits in (2, 16, 32):
        encoder = Encoder(clip_norm_l2=5.0, value_bits=bits)
        step = Fraction(encoder.norm_limit) / (
            Fraction(encoder.linf_bound) - Fraction(1, 2)
        )
        stated = float(step * (1 + Fraction(1, 2**18)))
        stated += encoder.norm_limit * 2.0**-24
        assert encoder.max_error == pytest.approx(stated, rel=1e-12)
