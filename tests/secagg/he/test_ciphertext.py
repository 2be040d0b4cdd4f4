"""Encrypted vectors on the wire: exact sizes, canonical bytes, and hostile twins."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.ciphertext import EncryptedInput, EncryptedTotal, Frame
from secagg.errors import DecodeError, ParameterError
from secagg.invite import SERVER
from secagg.messages import MESSAGES, step_of
from secagg.moduli import TABLES, Scheme
from secagg.transcript import Transcript, Wire
from secagg.upload import PlainInput

ROUND, CONTEXT, TAG = b"r" * 32, b"c" * 32, b"t" * 32
ENCODER = secagg.Encoder(clip_norm_l2=1.0)
FRAME = Frame(ENCODER, 5, 17)
FIELDS_AT = 34 + 32  # header and context


def residues(frame, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        rng.integers(0, prime, frame.input_shape[1], dtype=np.uint64)
        for prime in frame.moduli.primes
    ]
    return np.stack(rows)


def upload(frame=FRAME, seed=0):
    packed = frame.pack(residues(frame, seed))
    packed += b"s" * (frame.input_bytes - len(packed))
    return EncryptedInput(ROUND, CONTEXT, frame, 1, packed, TAG)


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


LIMITS = {2048: 54, 4096: 109}  # HE Standard 2018, table 1: 128 bits, ternary secret


@pytest.mark.parametrize("moduli", [*TABLES[Scheme.PUBLIC], *TABLES[Scheme.COMPACT]])
def test_the_moduli_are_ntt_primes_within_the_standard(moduli):
    special = () if moduli.special is None else (moduli.special,)
    primes = (*moduli.primes, *special)
    assert all(is_prime(p) and p % (2 * moduli.degree) == 1 for p in primes)
    assert len(set(primes)) == len(primes)
    assert math.prod(primes).bit_length() <= LIMITS[moduli.degree]
    assert len({p.bit_length() for p in moduli.primes}) == 1


@pytest.mark.parametrize("scheme", TABLES)
@pytest.mark.parametrize("ring_bits", [8, 19, 20, 32, 43, 46, 59])
def test_as_many_clients_as_allowed_cannot_reach_the_noise_limit(scheme, ring_bits):
    # The bounds of the docstrings, written out: noise of n sums below q / (2 t).
    for moduli in TABLES[scheme]:
        N, p, q = moduli.degree, moduli.special, math.prod(moduli.primes)
        if scheme is Scheme.COMPACT:
            fresh = Fraction(21) + Fraction(1, 2)
        else:
            fresh = Fraction(21 * (2 * N + 1), p) + Fraction(1 + N, 2) + Fraction(1, 2)
        n, limit = moduli.most_clients(ring_bits), Fraction(q, 2 << ring_bits)
        assert 2 * n * fresh < limit
        assert 2 * (n + 1) * (fresh + 2) > limit  # and is not far below it


def test_moduli_are_the_smallest_that_hold_ring_and_clients():
    for scheme, table in TABLES.items():
        sizes = [one.degree * math.prod(one.primes) for one in table]
        assert sizes == sorted(sizes)
        for value_bits, clients in ((2, 1), (16, 8), (16, 300), (24, 8), (32, 100)):
            encoder = secagg.Encoder(value_bits=value_bits, weight_max=1)
            frame = Frame(encoder, clients, 5, scheme)
            bits, at = frame.where.ring.bits, table.index(frame.moduli)
            assert frame.moduli.most_clients(bits) >= clients
            assert all(one.most_clients(bits) < clients for one in table[:at])


def test_a_sum_that_could_overflow_is_refused_at_construction():
    wide = secagg.Encoder(value_bits=32, weight_max=1 << 20)
    assert Frame(wide, 128, 3).where.ring.bits == 59
    with pytest.raises(ParameterError, match="60 bits"):
        Frame(wide, 129, 3)  # 32 + 20 + 8
    for clients in (0, -1, 1 << 32, 2.5, True, "5"):
        with pytest.raises(ParameterError):
            Frame(ENCODER, clients, 1)


@pytest.mark.parametrize("scheme", TABLES)
def test_one_client_more_than_can_be_decrypted_is_refused(scheme, monkeypatch):
    # The ring grows with the clients, so the noise of the widest moduli never binds
    # first; with fewer of them, it does.
    encoder = secagg.Encoder(value_bits=16, weight_max=1)
    least = TABLES[scheme][0]
    monkeypatch.setitem(TABLES, scheme, (least,))
    most = max(
        n for n in range(1, 2000) if n <= least.most_clients(encoder.ring_bits(n))
    )
    assert Frame(encoder, most, 1, scheme).moduli == least
    with pytest.raises(ParameterError, match="could not be decrypted"):
        Frame(encoder, most + 1, 1, scheme)


@pytest.mark.parametrize(
    ("value_bits", "weight_max", "scheme", "degree", "primes", "bits"),
    [
        (16, 1, Scheme.PUBLIC, 2048, 1, 40),
        (24, 65535, Scheme.PUBLIC, 4096, 1, 60),
        (32, 1 << 24, Scheme.PUBLIC, 4096, 2, 44),
        (16, 1, Scheme.COMPACT, 4096, 1, 32),
        (24, 65535, Scheme.COMPACT, 4096, 1, 54),
    ],
)
def test_the_size_of_an_upload_is_known_beforehand(
    value_bits, weight_max, scheme, degree, primes, bits
):
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    for length in (1, 4000, 9000):
        frame = Frame(encoder, 5, length, scheme)
        words = length + 1 + -(-64 // encoder.ring_bits(5))
        ciphertexts = -(-words // degree)
        total = -(-primes * (words + degree * ciphertexts) * bits // 8)
        sent = total
        if scheme is Scheme.COMPACT:
            sent = -(-primes * words * bits // 8) + 64 * ciphertexts
        assert (frame.input_bytes, frame.total_bytes) == (sent, total)
        assert len(upload(frame).encode()) == 34 + 32 + 23 + 4 + sent + 32


# --- messages ------------------------------------------------------------------------


def test_messages_round_trip_and_belong_to_their_step():
    for kind, count, step in (
        (EncryptedInput, 1, "masked_input"),
        (EncryptedTotal, 4, "unmask"),
    ):
        packed = FRAME.pack(residues(FRAME))
        message = kind(ROUND, CONTEXT, FRAME, count, packed, TAG * count)
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
    assert len(packed) == frame.total_bytes
    assert np.array_equal(frame.unpack(packed, frame.shape), words)
    twin = bytearray(packed)
    twin[at % len(twin)] ^= 1 << (at % 8)
    try:
        assert not np.array_equal(frame.unpack(bytes(twin), frame.shape), words)
    except DecodeError:
        pass  # a padding bit, or a coefficient beyond its prime


def fields(
    clip=1.0, bits=24, weight=65535, flags=0, clients=5, length=17, scheme=2, count=1
):
    numbers = (clip, bits, weight, flags, clients, length, scheme, count)
    return struct.pack("<dBIBIIBI", *numbers)


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
    "two inputs in one": (
        GOOD[:FIELDS_AT] + fields(count=2) + GOOD[FIELDS_END:] + b"t" * 32
    ),
    "no input, no tag": (GOOD[:FIELDS_AT] + fields(count=0) + GOOD[FIELDS_END:-32]),
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
        {"scheme": 3},  # c1 in place of seeds
        {"scheme": 1},  # as in the first release
        {"scheme": 255},
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
        assert FRAME.unpack(FRAME.pack(words), FRAME.shape) is not None
        words[row, -1] = prime
        message = EncryptedInput(ROUND, CONTEXT, FRAME, 1, FRAME.pack(words), TAG)
        with pytest.raises(DecodeError, match="not reduced"):
            message.residues()


def test_a_compact_upload_holds_c0_and_seeds():
    frame = Frame(ENCODER, 5, 5000, Scheme.COMPACT)
    message = EncryptedInput.decode(upload(frame).encode())
    assert np.array_equal(message.residues(), residues(frame))
    assert message.seeds() == [b"s" * 64] * 2
    assert upload().seeds() == []


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
