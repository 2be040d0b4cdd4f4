"""Encrypted vectors on the wire: exact sizes, canonical bytes, and hostile twins."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.ciphertext import MODULI, POLY_DEGREE, EncryptedInput, EncryptedTotal, Frame
from secagg.errors import DecodeError, ParameterError
from secagg.invite import SERVER
from secagg.messages import MESSAGES, step_of
from secagg.transcript import Transcript, Wire
from secagg.upload import PlainInput

ROUND, CONTEXT = b"r" * 32, b"c" * 32
ENCODER = secagg.Encoder(clip_norm_l2=1.0)
FRAME = Frame(ENCODER, 5, 17)
FIELDS_AT = 34 + 32  # header and context


def residues(frame, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        rng.integers(0, prime, frame.shape[1], dtype=np.uint64)
        for prime in frame.moduli.primes
    ]
    return np.stack(rows)


def upload(frame=FRAME, seed=0):
    return EncryptedInput(ROUND, CONTEXT, frame, 1, frame.pack(residues(frame, seed)))


GOOD = upload().encode()


# --- parameters ----------------------------------------------------------------------


def is_prime(n):
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):  # exact below 2^64
        x = pow(base, odd, n)
        if x not in (1, n - 1) and not any(
            (x := x * x % n) == n - 1 for _ in range(twos - 1)
        ):
            return False
    return True


@pytest.mark.parametrize("moduli", MODULI)
def test_the_moduli_are_ntt_primes_of_109_bits_in_all(moduli):
    primes = (*moduli.primes, moduli.special)
    assert all(is_prime(p) and p % (2 * POLY_DEGREE) == 1 for p in primes)
    assert len(set(primes)) == len(primes)
    assert sum(p.bit_length() for p in primes) == 109  # HE Standard, N = 4096
    assert len({p.bit_length() for p in moduli.primes}) == 1


@pytest.mark.parametrize("moduli", MODULI)
def test_as_many_clients_as_allowed_cannot_reach_the_noise_limit(moduli):
    # The bound of the docstring, written out: noise of n sums below q / (2 t).
    n, p = moduli.most_clients, moduli.special
    fresh = 21 * (2 * POLY_DEGREE + 1) / p + (1 + POLY_DEGREE) / 2 + 1
    limit = math.prod(moduli.primes) / 2 ** (moduli.ring_bits + 1)
    assert 2 * n * fresh < limit
    assert n > 10_000


def test_a_sum_that_could_overflow_is_refused_at_construction():
    wide = secagg.Encoder(value_bits=32, weight_max=1 << 20)
    assert Frame(wide, 128, 3).where.ring.bits == 59
    with pytest.raises(ParameterError, match="60 bits"):
        Frame(wide, 129, 3)  # 32 + 20 + 8
    narrow = secagg.Encoder(value_bits=8, weight_max=1)
    most = Frame(narrow, 1, 1).moduli.most_clients
    assert Frame(narrow, most, 1)
    for clients in (0, -1, most + 1, 2.5, True, "5"):
        with pytest.raises(ParameterError):
            Frame(narrow, clients, 1)


@pytest.mark.parametrize(
    ("value_bits", "weight_max", "primes"),
    [(16, 1, 1), (24, 65535, 2), (32, 1 << 24, 2)],
)
def test_the_size_of_an_upload_is_known_beforehand(value_bits, weight_max, primes):
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    for length in (1, 4000, 9000):
        frame = Frame(encoder, 5, length)
        words = length + 1 + -(-64 // encoder.ring_bits(5))
        bits = 60 if primes == 1 else 37 if weight_max == 65535 else 44
        coefficients = primes * (words + 4096 * -(-words // 4096))
        packed = -(-coefficients * bits // 8)
        assert frame.shape[0] == primes and frame.packed_bytes == packed
        assert len(upload(frame).encode()) == 34 + 32 + 22 + 4 + packed


# --- messages ------------------------------------------------------------------------


def test_messages_round_trip_and_belong_to_their_step():
    for kind, count, step in (
        (EncryptedInput, 1, "masked_input"),
        (EncryptedTotal, 4, "unmask"),
    ):
        message = kind(ROUND, CONTEXT, FRAME, count, FRAME.pack(residues(FRAME)))
        data = message.encode()
        assert kind.decode(data) == message and kind.decode(data).encode() == data
        assert np.array_equal(message.residues(), residues(FRAME))
        assert step_of(data) == step
    others = (*MESSAGES, PlainInput, EncryptedInput, EncryptedTotal)
    assert len({kind.TAG for kind in others}) == len(others)


@settings(max_examples=30, deadline=None)
@given(
    value_bits=st.integers(2, 32),
    weight_max=st.sampled_from([1, 255, 65535, 1 << 24]),
    length=st.integers(1, 40),
    seed=st.integers(0, 1 << 30),
    at=st.integers(0, 1 << 30),
)
def test_coefficients_pack_and_unpack_and_every_flip_is_seen(
    value_bits, weight_max, length, seed, at
):
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    frame = Frame(encoder, 3, length)
    words = residues(frame, seed)
    packed = frame.pack(words)
    assert len(packed) == frame.packed_bytes
    assert np.array_equal(frame.unpack(packed), words)
    twin = bytearray(packed)
    twin[at % len(twin)] ^= 1 << (at % 8)
    try:
        assert not np.array_equal(frame.unpack(bytes(twin)), words)
    except DecodeError:
        pass  # a padding bit, or a coefficient beyond its prime


def fields(clip=1.0, bits=24, weight=65535, flags=0, clients=5, length=17, count=1):
    return struct.pack("<dBIBIII", clip, bits, weight, flags, clients, length, count)


FIELDS_END = FIELDS_AT + len(fields())


def test_the_fields_that_are_tampered_with_are_where_they_are_taken_to_be():
    assert GOOD[FIELDS_AT:FIELDS_END] == fields()


HOSTILE = {
    "empty": b"",
    "header only": GOOD[:34],
    "no ciphertext": GOOD[:FIELDS_END],
    "one byte short": GOOD[:-1],
    "one byte long": GOOD + b"\0",
    "of another version": b"\xff" + GOOD[1:],
    "a sum in place of an input": GOOD[:1] + bytes([EncryptedTotal.TAG]) + GOOD[2:],
    "of another tag": GOOD[:1] + b"\6" + GOOD[2:],
} | {
    f"frame with {change}": GOOD[:FIELDS_AT] + fields(**change) + GOOD[FIELDS_END:]
    for change in (
        {"length": 0},
        {"length": 18},
        {"length": 5000},
        {"length": (1 << 32) - 1},
        {"clients": 0},
        {"clients": (1 << 32) - 1},
        {"clients": 1 << 13},  # a wider ring of the same words, but other moduli
        {"clip": math.nan},
        {"clip": -1.0},
        {"bits": 0},
        {"bits": 255},
        {"weight": 0},
        {"weight": (1 << 32) - 1},
        {"flags": 4},  # room for noise, in a wider ring
        {"count": 0},
        {"count": 2},
        {"count": (1 << 32) - 1},
    )
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_refused_before_anything_is_unpacked(name, monkeypatch):
    if name == "a sum in place of an input":
        EncryptedTotal.decode(HOSTILE[name])  # is one, and so no input
    monkeypatch.setattr(Frame, "unpack", None)
    with pytest.raises(DecodeError):
        EncryptedInput.decode(HOSTILE[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_transcript_with_a_hostile_upload_raises_the_typed_error(name):
    if name in ("a sum in place of an input",):
        return  # of another step, so no upload
    with pytest.raises(DecodeError):
        Transcript((Wire("masked_input", "c", SERVER, HOSTILE[name]),)).uploads()


def test_a_coefficient_that_is_not_reduced_is_refused():
    for row, prime in enumerate(FRAME.moduli.primes):
        words = residues(FRAME)
        words[row, -1] = prime - 1
        assert FRAME.unpack(FRAME.pack(words)) is not None
        words[row, -1] = prime
        message = EncryptedInput(ROUND, CONTEXT, FRAME, 1, FRAME.pack(words))
        with pytest.raises(DecodeError, match="not reduced"):
            message.residues()


def test_an_upload_reads_as_an_unprotected_vector_without_the_key():
    read = Transcript((Wire("masked_input", "c", SERVER, GOOD),)).uploads()["c"]
    assert read.weight is None and read.vector.shape == (17,)
    assert read.vector.dtype == np.float64
    # Spread over the ring: the prime is the whole range 2^r, a step is 1 / scale.
    prime = FRAME.moduli.primes[0]
    first = int(residues(FRAME)[0, 0])
    centred = first - prime if first > prime // 2 else first
    unit = 2.0 ** ENCODER.ring_bits(5) / ENCODER.scale
    assert read.vector[0] == pytest.approx(centred / prime * unit)
    assert np.abs(read.vector).max() <= unit / 2
