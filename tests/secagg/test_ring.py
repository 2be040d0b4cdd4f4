import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.ring import Ring


def slow_pack(values: list[int], bits: int) -> bytes:
    """Write one bit at a time."""
    stream = 0
    for i, value in enumerate(values):
        stream |= (value % (1 << bits)) << (i * bits)
    return stream.to_bytes((len(values) * bits + 7) // 8, "little")


@settings(max_examples=150, deadline=None)
@given(
    bits=st.integers(1, 64),
    values=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=70),
)
def test_packing_agrees_with_slow_oracle_and_inverts(bits, values):
    ring = Ring(bits)
    words = np.array(values, dtype="<u8").astype(ring.dtype)
    packed = ring.pack(words)
    assert packed == slow_pack([int(w) for w in words], bits)
    back = ring.unpack(packed, len(values))
    assert back.dtype == ring.dtype
    assert np.array_equal(back, ring.reduce(words))


@pytest.mark.parametrize("bits", [1, 13, 17, 26, 36, 59, 61, 62])
def test_packing_of_many_words_agrees_with_the_slow_oracle(bits, monkeypatch):
    for module in ("ring", "packing"):  # several blocks, and a rest
        monkeypatch.setattr(f"secagg.{module}._BLOCK", 64)
    ring = Ring(bits)
    rng = np.random.default_rng(bits)
    for count in (63, 64, 65, 64 * 8 + 3):
        words = rng.integers(0, 2**64, count, dtype=np.uint64).astype(ring.dtype)
        packed = slow_pack(words.tolist(), bits)
        assert ring.pack(words) == packed
        assert np.array_equal(ring.unpack(packed, count), ring.reduce(words))


@pytest.mark.parametrize("bits", [12, 16, 20, 32, 40, 64])
def test_packing_does_not_depend_on_how_words_lie_in_memory(bits):
    ring = Ring(bits)
    words = np.arange(200, dtype=ring.dtype) * ring.dtype.type(37)
    packed = slow_pack(words.tolist(), bits)
    swapped = words.astype(words.dtype.newbyteorder(">"))
    for other in (swapped, np.repeat(words, 2)[::2], words[::-1].copy()[::-1]):
        assert ring.pack(other) == packed


@pytest.mark.parametrize("bits", [9, 16, 32])
def test_wider_words_than_the_ring_needs_pack_to_the_same_bytes(bits):
    ring = Ring(bits)
    words = np.arange(1, 60, dtype=np.uint64) * 1103515245 & (1 << bits) - 1
    assert ring.pack(words) == ring.pack(words.astype(ring.dtype))


@pytest.mark.parametrize("bits", [5, 16, 24, 26, 32, 43, 64])
def test_adding_packed_words_adds_modulo_the_ring(bits):
    ring = Ring(bits)
    rng = np.random.default_rng(bits)
    slow = [0] * 83
    total = ring.zeros(83)
    for _ in range(9):
        words = rng.integers(0, 2**64, 83, dtype=np.uint64).astype(ring.dtype)
        # A message is a view into what was received, at any address.
        ring.add_packed(total, memoryview(b"head" + ring.pack(words))[4:])
        added = zip(slow, words.tolist(), strict=True)
        slow = [(a + b) % (1 << bits) for a, b in added]
    assert ring.reduce(total).tolist() == slow


def test_adding_asks_for_contiguous_words_of_the_ring():
    ring = Ring(26)
    packed = ring.pack(ring.zeros(5))
    for total in (np.zeros(5, "<u8"), np.zeros(10, "<u4")[::2]):
        with pytest.raises(ParameterError):
            ring.add_packed(total, packed)


def test_what_cannot_be_unpacked_adds_nothing():
    ring, total = Ring(5), Ring(5).zeros(3)
    packed = ring.pack(np.array([1, 2, 3], dtype=ring.dtype))
    for spoilt in (packed + b"\0", packed[:-1] + bytes([packed[-1] | 0x80])):
        with pytest.raises(DecodeError):
            ring.add_packed(total, spoilt)
    assert not total.any()


@pytest.mark.parametrize("bits", [1, 2, 15, 16, 17, 31, 32, 33, 44, 63, 64])
def test_center_inverts_from_signed_over_the_whole_range(bits):
    ring = Ring(bits)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = np.array(
        sorted(
            {low, low + 1, -1, 0, 1, high - 1, high}
            & set(
                range(low, high + 1)
                if bits < 8
                else [low, low + 1, -1, 0, 1, high - 1, high]
            )
        ),
        dtype=np.int64,
    )
    assert np.array_equal(ring.center(ring.from_signed(values)), values)


@pytest.mark.parametrize("bits", [5, 16, 20, 32, 44, 64])
def test_native_word_arithmetic_is_arithmetic_modulo_the_ring(bits):
    ring = Ring(bits)
    rng = np.random.default_rng(bits)
    a = rng.integers(0, 2**63, 50, dtype=np.uint64)
    b = rng.integers(0, 2**63, 50, dtype=np.uint64)
    fast = ring.reduce(a.astype(ring.dtype) - b.astype(ring.dtype))
    slow = [(int(x) - int(y)) % (1 << bits) for x, y in zip(a, b, strict=True)]
    assert fast.tolist() == slow


def test_unpack_refuses_wrong_length_and_padding_bits():
    ring = Ring(5)
    packed = ring.pack(np.array([1, 2, 3], dtype=ring.dtype))
    with pytest.raises(DecodeError):
        ring.unpack(packed + b"\0", 3)
    with pytest.raises(DecodeError):
        ring.unpack(packed[:-1], 3)
    with pytest.raises(DecodeError):
        ring.unpack(packed[:-1] + bytes([packed[-1] | 0x80]), 3)


@pytest.mark.parametrize("bits", [0, 65, -1])
def test_ring_refuses_bits_out_of_range(bits):
    with pytest.raises(ParameterError):
        Ring(bits)
