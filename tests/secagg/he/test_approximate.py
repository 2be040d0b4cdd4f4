"""Approximately encrypted vectors on the wire: pinned parameters, sizes, and twins."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.approximate import ApproximateInput, ApproximateTotal
from secagg.approximate_frame import (
    CHECKS,
    DEGREE,
    PARAMETERS,
    PRIMES,
    SCALE,
    SLOTS,
    SPECIAL,
    ApproximateFrame,
)
from secagg.ciphertext import EncryptedInput, EncryptedTotal
from secagg.errors import DecodeError
from secagg.messages import MESSAGES, step_of
from secagg.upload import PlainInput

ROUND, CONTEXT = b"r" * 32, b"c" * 32
FRAME = ApproximateFrame(1.0, 65535, 5, 17)
FIELDS_AT = 34 + 32  # header and context


def residues(seed=0, frame=FRAME):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, p, frame.shape[1:], dtype=np.uint64) for p in PRIMES]
    return np.stack(rows)


def upload(seed=0):
    packed = FRAME.pack(residues(seed))
    return ApproximateInput(ROUND, CONTEXT, FRAME, 1, packed, bytes(32))


GOOD = upload().encode()


def test_the_parameters_are_pinned_by_their_hash():
    assert (DEGREE, SLOTS, SCALE, CHECKS) == (8192, 4096, 2.0**40, 4)
    assert [p.bit_length() for p in (*PRIMES, SPECIAL)] == [60, 40, 40]
    assert all(p % (2 * DEGREE) == 1 for p in (*PRIMES, SPECIAL))
    assert PARAMETERS.hex() == (
        "f309a72bb406c954e159f9f6ff23f57bda09e036d7b132434e5a5cf54e2f5149"
    )
    assert GOOD[FIELDS_AT : FIELDS_AT + 32] == PARAMETERS


def test_they_are_what_seal_makes_of_the_common_sizes_and_accepts_at_128_bits():
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    from tenseal import sealapi as api

    made = api.CoeffModulus.Create(DEGREE, [60, 40, 40])
    assert [one.value() for one in made] == [*PRIMES, SPECIAL]
    assert api.CoeffModulus.MaxBitCount(DEGREE, api.SEC_LEVEL_TYPE.TC128) == 218


@pytest.mark.parametrize(
    ("length", "ciphertexts"),
    [(1, 1), (SLOTS - 5, 1), (SLOTS - 4, 2), (2 * SLOTS - 5, 2), (10**6, 245)],
)
def test_the_size_of_an_upload_is_known_beforehand(length, ciphertexts):
    frame = ApproximateFrame(1.0, 1, 5, length)
    assert frame.ciphertexts == ciphertexts
    assert frame.packed_bytes == ciphertexts * 2 * 8192 * (60 + 40) // 8
    if length < 10**4:
        packed = frame.pack(residues(frame=frame))
        message = ApproximateInput(ROUND, CONTEXT, frame, 1, packed, bytes(32))
        assert len(message.encode()) == 34 + 32 + 32 + 20 + 4 + frame.packed_bytes + 32


def test_messages_round_trip_and_belong_to_their_step():
    for kind, count, step in (
        (ApproximateInput, 1, "masked_input"),
        (ApproximateTotal, 4, "unmask"),
    ):
        message = kind(
            ROUND, CONTEXT, FRAME, count, FRAME.pack(residues()), bytes(32 * count)
        )
        data = message.encode()
        assert kind.decode(data).encode() == data
        assert np.array_equal(kind.decode(data).residues(), residues())
        assert step_of(data) == step
    others = (PlainInput, EncryptedInput, EncryptedTotal)
    kinds = (*MESSAGES, *others, ApproximateInput, ApproximateTotal)
    assert len({kind.TAG for kind in kinds}) == len(kinds)


@settings(max_examples=10, deadline=None)
@given(at=st.integers(0, FRAME.packed_bytes - 1), bit=st.integers(0, 7))
def test_every_flip_of_a_coefficient_is_seen(at, bit):
    twin = bytearray(FRAME.pack(residues()))
    twin[at] ^= 1 << bit
    try:
        assert not np.array_equal(FRAME.unpack(bytes(twin)), residues())
    except DecodeError:
        pass  # a coefficient beyond its prime


def fields(clip=1.0, weight=65535, clients=5, length=17, count=1):
    return struct.pack("<dIIII", clip, weight, clients, length, count)


START, END = FIELDS_AT + 32, FIELDS_AT + 32 + len(fields())


def test_the_fields_that_are_tampered_with_are_where_they_are_taken_to_be():
    assert GOOD[START:END] == fields()


HOSTILE = {
    "empty": b"",
    "header only": GOOD[:34],
    "no ciphertext": GOOD[:END],
    "one byte short": GOOD[:-1],
    "one byte long": GOOD + b"\0",
    "of another version": b"\xff" + GOOD[1:],
    "a sum in place of an input": GOOD[:1] + bytes([ApproximateTotal.TAG]) + GOOD[2:],
    "an exact input": GOOD[:1] + bytes([EncryptedInput.TAG]) + GOOD[2:],
    "of other parameters": GOOD[:FIELDS_AT] + b"\0" + GOOD[FIELDS_AT + 1 :],
    "unreduced": GOOD[:END] + b"\xff" * 8 + GOOD[END + 8 :],
    "unreduced at the end": GOOD[:-37] + b"\xff" * 37,
} | {
    f"frame with {change}": GOOD[:START] + fields(**change) + GOOD[END:]
    for change in (
        {"length": 0},
        {"length": SLOTS},
        {"length": (1 << 32) - 1},
        {"clients": 0},
        {"clients": (1 << 32) - 1},
        {"clip": math.nan},
        {"clip": math.inf},
        {"clip": -1.0},
        {"weight": 0},
        {"weight": (1 << 32) - 1, "clients": 1 << 20},
        {"count": 0},
        {"count": 2},
        {"count": (1 << 32) - 1},
    )
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tampered_message_is_one_typed_error(name):
    with pytest.raises(DecodeError):
        ApproximateInput.decode(HOSTILE[name]).residues()
