import math
from fractions import Fraction

import numpy as np
import pytest

from secagg import encode
from secagg.encoder import Encoder
from secagg.errors import IntegrityError, ParameterError
from secagg.offered import check_form, check_vector, check_weight
from secagg.prg import simulation_rng

KEY = bytes(range(32))
ROUND, CONTEXT = b"round", b"context"


def quantise(encoder, values, key):
    """Return the integers that one client of weight one would send."""
    where = encode.layout(encoder, clients=1, length=len(values))
    words = encode.encode(
        encoder, where, check_form(values), 1, context=CONTEXT, key=key
    )
    return where.ring.center(words[: where.length])


def sealed(where, rounded, weight, context):
    """Return the words of given integers, as ``encode`` and ``seal`` would."""
    words = where.ring.zeros(where.words)
    words[: where.length] = where.ring.from_signed(rounded * np.int64(weight))
    words[where.length] = weight
    encode.seal(where, words, ROUND, context)
    return words


def encode_all(encoder, vectors, weights, *, clients=None, context=CONTEXT):
    where = encode.layout(
        encoder, clients=clients or len(vectors), length=len(vectors[0])
    )
    rng = simulation_rng(3, "rounding")
    total = where.ring.zeros(where.words)
    for vector, weight in zip(vectors, weights, strict=True):
        given = check_form(vector)
        words = encode.encode(
            encoder, where, given, weight, context=CONTEXT, key=rng(32)
        )
        encode.seal(where, words, ROUND, context)
        total += words
    return where, total


@pytest.mark.parametrize("value_bits", [2, 8, 16, 24, 32])
@pytest.mark.parametrize("clip", [1e-3, 1.0, 16.0, 3e5])
def test_mean_is_within_max_error_of_the_exact_weighted_mean(value_bits, clip):
    encoder = Encoder(clip_norm_l2=clip, value_bits=value_bits, weight_max=100)
    rng = np.random.default_rng(value_bits)
    vectors = [rng.normal(size=30) for _ in range(4)]
    vectors = [v * clip / np.linalg.norm(v) * 0.999 for v in vectors]
    weights = [1, 7, 99, 100]
    where, total = encode_all(encoder, vectors, weights)
    decoded = encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=4)
    assert decoded.weight == 207
    for i, got in enumerate(decoded.mean.astype(np.float32)):
        exact = (
            sum(
                w * Fraction(float(v[i])) for w, v in zip(weights, vectors, strict=True)
            )
            / 207
        )
        assert abs(Fraction(float(got)) - exact) <= Fraction(encoder.max_error)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize(("value_bits", "weight_max"), [(8, 1), (16, 1), (24, 65535)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_may_take_the_place_of_its_words(rotate, value_bits, weight_max, dtype):
    encoder = Encoder(
        clip_norm_l2=2.0, value_bits=value_bits, weight_max=weight_max, rotate=rotate
    )
    length = 100_001  # some blocks
    vectors = np.random.default_rng(1).normal(size=(3, length)) / length**0.5
    where, total = encode_all(encoder, vectors, [1] * 3)
    given = (ROUND, CONTEXT)
    wide = encode.decode_sum(encoder, where, total, *given, clients=3).mean
    apart = np.empty(length, dtype)
    encode.decode_sum(encoder, where, total, *given, clients=3, into=apart)
    inside = apart
    if np.dtype(dtype).itemsize <= total.itemsize:
        inside = total.view(dtype)[:length]
        out = encode.decode_sum(encoder, where, total, *given, clients=3, into=inside)
        assert out.mean is inside
    assert np.array_equal(inside, apart)
    # Apart by what float32 costs, which the stated error has room for.
    room = encoder.at(length).max_error - np.abs(wide - vectors.mean(axis=0)).max()
    assert np.abs(wide - apart).max() <= room
    assert np.array_equal(wide, apart) == (dtype == np.float64)


def test_decoded_sum_is_exactly_the_sum_of_the_rounded_integers():
    encoder = Encoder(clip_norm_l2=4.0, value_bits=20, weight_max=1000)
    rng = np.random.default_rng(0)
    vectors = [rng.uniform(-1, 1, size=10) for _ in range(5)]
    weights = [1, 2, 1000, 17, 500]
    draws = simulation_rng(3, "rounding")
    exact = np.zeros(10, dtype=object)
    for vector, weight in zip(vectors, weights, strict=True):
        q = quantise(encoder, vector, draws(32))
        exact += weight * q.astype(object)
    where, total = encode_all(encoder, vectors, weights)
    assert where.ring.center(total[:10]).tolist() == exact.tolist()


@pytest.mark.parametrize("value_bits", [2, 13, 24, 32])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extremes_decode_exactly_and_never_wrap(value_bits, sign):
    weight_max = 65535 if value_bits < 32 else 2**24
    encoder = Encoder(clip_norm_l2=2.0, value_bits=value_bits, weight_max=weight_max)
    n = 50
    vectors = [np.array([sign * 2.0])] * n
    where, total = encode_all(encoder, vectors, [weight_max] * n)
    decoded = encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=n)
    assert decoded.weight == n * weight_max
    assert abs(decoded.mean[0] - sign * 2.0) <= encoder.max_error
    # The bound itself, with every client at +-(2^(b-1) - 1).
    bound = np.full(1, int(sign) * encoder.linf_bound, dtype=np.int64)
    total = where.ring.zeros(where.words)
    for _ in range(n):
        total += sealed(where, bound, weight_max, CONTEXT)
    exact = int(sign) * n * weight_max * encoder.linf_bound
    assert int(where.ring.center(total[:1])[0]) == exact
    encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=n)


@pytest.mark.parametrize("value_bits", [2, 8, 24, 32])
def test_quantised_values_never_exceed_the_stated_bounds(value_bits):
    for clip in (1.0, 3.0, 0.1, 1e10, 7e-9, math.pi):
        encoder = Encoder(clip_norm_l2=clip, value_bits=value_bits)
        for value in (clip, -clip, encoder.norm_limit, -encoder.norm_limit):
            for seed in range(5):
                key = simulation_rng(seed)(32)
                q = quantise(encoder, np.array([value]), key)
                assert abs(int(q[0])) <= encoder.linf_bound
        rng = np.random.default_rng(1)
        vector = rng.normal(size=500)
        vector *= clip / np.linalg.norm(vector)
        q = quantise(encoder, vector, KEY)
        assert np.linalg.norm(q.astype(float)) <= encoder.l2_bound(500)


def test_zero_is_not_moved():
    encoder = Encoder(clip_norm_l2=1.0, value_bits=2)
    assert quantise(encoder, np.zeros(50), KEY).tolist() == [0] * 50


def test_a_clip_computed_in_float32_is_accepted_and_a_larger_norm_is_not():
    encoder = Encoder(clip_norm_l2=1.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        vector = rng.normal(size=3000).astype(np.float32)
        clipped = vector * (np.float32(1.0) / np.linalg.norm(vector))
        check_vector(encoder, clipped)
    with pytest.raises(ParameterError):
        check_vector(encoder, np.array([1.0 + 2e-5]))


def test_rounding_draws_differ_between_keys_and_coordinates():
    encoder = Encoder(clip_norm_l2=1.0, value_bits=16)
    half = np.full(1000, 5.5 / encoder.scale)
    a = quantise(encoder, half, KEY)
    b = quantise(encoder, half, bytes(32))
    assert 400 < (a == 5).sum() < 600
    assert 400 < (a != b).sum() < 600


@pytest.mark.parametrize("at", range(0, 9))
def test_any_single_word_error_of_a_unit_is_detected(at):
    encoder = Encoder(clip_norm_l2=4.0, value_bits=20, weight_max=10)
    where, total = encode_all(encoder, [np.ones(5)] * 3, [1, 2, 3])
    assert where.words == 5 + 1 + 3
    encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=3)
    total[at] += 1
    with pytest.raises(IntegrityError):
        encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=3)


def test_uniform_words_are_refused():
    encoder = Encoder(value_bits=8, weight_max=1)
    where = encode.layout(encoder, clients=4, length=6)
    rng = np.random.default_rng(0)
    for _ in range(200):
        words = rng.integers(0, 2**16, where.words).astype(where.ring.dtype)
        with pytest.raises(IntegrityError):
            encode.decode_sum(encoder, where, words, ROUND, CONTEXT, clients=4)


def test_another_binding_is_refused():
    encoder = Encoder()
    where, total = encode_all(encoder, [np.ones(5)] * 3, [1, 2, 3])
    with pytest.raises(IntegrityError):
        encode.decode_sum(encoder, where, total, ROUND, b"other", clients=3)


def test_weight_zero_and_too_large_a_weight_are_refused():
    encoder = Encoder(weight_max=10)
    where = encode.layout(encoder, clients=3, length=2)
    zero = where.ring.zeros(where.words)
    with pytest.raises(IntegrityError):
        encode.decode_sum(encoder, where, zero, ROUND, CONTEXT, clients=1)
    words = sealed(where, np.zeros(2, dtype=np.int64), 21, CONTEXT)
    with pytest.raises(IntegrityError):
        encode.decode_sum(encoder, where, words, ROUND, CONTEXT, clients=2)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_beyond_the_total_weight_is_refused(sign):
    encoder = Encoder(value_bits=8, weight_max=10)
    where = encode.layout(encoder, clients=3, length=2)
    for excess in (0, 1):
        values = np.array([0, sign * (encoder.linf_bound + excess)], dtype=np.int64)
        words = sealed(where, values, 1, CONTEXT)
        if excess == 0:
            encode.decode_sum(encoder, where, words, ROUND, CONTEXT, clients=1)
            continue
        with pytest.raises(IntegrityError):
            encode.decode_sum(encoder, where, words, ROUND, CONTEXT, clients=1)


@pytest.mark.parametrize(
    ("bits", "n", "wmax"), [(24, 10, 65535), (16, 4, 1), (2, 2, 1)]
)
def test_checksums_carry_at_least_64_bits(bits, n, wmax):
    encoder = Encoder(value_bits=bits, weight_max=wmax)
    where = encode.layout(encoder, clients=n, length=7)
    assert where.integrity * where.ring.bits >= 64
    assert where.ring.bits == bits + math.ceil(math.log2(n * wmax))


def test_ring_too_wide_names_the_cure():
    encoder = Encoder(value_bits=32, weight_max=2**32 - 1)
    with pytest.raises(ParameterError, match="lower value_bits or weight_max"):
        encoder.ring_bits(10)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types_are_accepted(dtype):
    values = check_vector(Encoder(), np.ones(3, dtype=dtype), length=3)
    assert values.dtype == dtype


@pytest.mark.parametrize(
    ("vector", "cure"),
    [
        (np.array([1.0, math.nan]), "not finite"),
        (np.array([1.0, math.inf]), "not finite"),
        (np.array([1, 2]), "convert it to float16"),
        (np.array([True, False]), "convert it to float16"),
        (np.array([1 + 2j, 0]), "convert it to float16"),
        (np.ones((2, 2)), "one non-empty flat vector"),
        (np.ones(0), "one non-empty flat vector"),
        (np.ones(3), "offer the agreed tensors"),
        (np.full(2, 20.0), "clip the update or raise clip_norm_l2"),
        (np.full(2, 1e300), "clip the update or raise clip_norm_l2"),
    ],
)
def test_bad_vectors_are_refused_with_the_cure(vector, cure):
    with pytest.raises(ParameterError, match=cure) as caught:
        check_vector(Encoder(), vector, length=2 if len(vector) else None)
    assert caught.value.argument == "vector"


@pytest.mark.parametrize("weight", [0, -1, 65536, 1.0, "1", None, True])
def test_bad_weights_are_refused(weight):
    with pytest.raises(ParameterError):
        check_weight(Encoder(), weight)
    assert check_weight(Encoder(), np.int64(7)) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"clip_norm_l2": 0.0},
        {"clip_norm_l2": -1.0},
        {"clip_norm_l2": math.inf},
        {"clip_norm_l2": math.nan},
        {"value_bits": 1},
        {"value_bits": 33},
        {"value_bits": 8.0},
        {"weight_max": 0},
        {"weight_max": 2**32},
    ],
)
def test_encoder_refuses_parameters_out_of_range(change):
    with pytest.raises(ParameterError):
        Encoder(**change)


@pytest.mark.parametrize("length", [0, -1, 1 << 32, 1.5, True, "9"])
def test_a_layout_is_of_a_length_that_travels_in_four_bytes(length):
    with pytest.raises(ParameterError, match="length"):
        encode.layout(Encoder(), clients=4, length=length)


@pytest.mark.parametrize("value_bits", [2, 3, 16, 24, 32])
@pytest.mark.parametrize(("clients", "weight_max"), [(2, 1), (4, 1 << 16), (3, 5)])
def test_the_largest_sum_stays_below_half_the_ring(value_bits, clients, weight_max):
    encoder = Encoder(value_bits=value_bits, weight_max=weight_max)
    largest = clients * weight_max * encoder.linf_bound
    assert encoder.linf_bound == 2 ** (value_bits - 1) - 1
    assert largest < 2 ** (encoder.ring_bits(clients) - 1)


def test_a_ring_of_one_bit_too_many_is_refused():
    widest = Encoder(value_bits=32, weight_max=(1 << 32) - 1)
    assert widest.ring_bits(1) == 64
    with pytest.raises(ParameterError, match="65 bits"):
        widest.ring_bits(2)


def test_the_checksums_of_a_vector_are_different_forms():
    where = encode.layout(Encoder(), clients=4, length=9)
    words = where.ring.zeros(where.words)
    words[:10] = 1
    sums = where.ring.reduce(encode._checksums(where, words, b"binding"))
    assert len(sums) == where.integrity >= 2
    assert len(set(sums.tolist())) == len(sums)


def test_the_norm_is_that_of_all_values_together():
    encoder = Encoder(clip_norm_l2=1.0)
    check_vector(encoder, np.full(4, 0.5))
    with pytest.raises(ParameterError, match="L2 norm"):
        check_vector(encoder, np.full(4, 0.51))
