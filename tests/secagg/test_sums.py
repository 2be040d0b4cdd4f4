"""Uploads add up modulo their ring, however narrowly their sum is kept."""

import tracemalloc

import numpy as np
import pytest

from secagg import sums
from secagg.errors import DecodeError
from secagg.ring import Ring
from secagg.sums import UploadSum


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(sums, "_LEAST", 3)
    monkeypatch.setattr(sums, "_BLOCK", 64)


@pytest.mark.parametrize("bits", [5, 16, 26, 32, 33, 42, 47, 48, 49, 61, 64])
@pytest.mark.parametrize("count", [3, 64, 65, 643])
def test_the_sum_is_that_of_the_words_modulo_the_ring(bits, count):
    ring = Ring(bits)
    rng = np.random.default_rng(bits)
    total, slow = UploadSum(ring, count), [0] * count
    assert len(total) == 0
    for _ in range(5):
        words = rng.integers(0, 2**64, count, dtype=np.uint64)
        words[:3] = 2**64 - 1  # each of them carries
        words = words.astype(ring.dtype)
        total.add(memoryview(b"head" + ring.pack(words))[4:])
        added = zip(slow, words.tolist(), strict=True)
        slow = [(a + b) % (1 << bits) for a, b in added]
        assert len(total) == count
    summed = total.take()
    assert summed.dtype == ring.dtype and summed.flags.owndata
    assert ring.reduce(summed).tolist() == slow and len(total) == 0


@pytest.mark.parametrize("bits", [26, 42])
def test_a_spoilt_upload_adds_nothing(bits):
    ring, count = Ring(bits), 70
    packed = ring.pack(np.arange(count, dtype=ring.dtype))
    total = UploadSum(ring, count)
    total.add(packed)
    spoilt = [packed + b"\0", packed[:-1]]
    if len(packed) * 8 > count * bits:
        spoilt.append(packed[:-1] + bytes([packed[-1] | 0x80]))
    for data in spoilt:
        with pytest.raises(DecodeError):
            total.add(data)
    assert ring.reduce(total.take()).tolist() == list(range(count))
    total.add(packed)
    total.clear()
    assert len(total) == 0 and not len(total.take())


@pytest.mark.parametrize(("bits", "while_added"), [(32, 4), (33, 6), (48, 6), (49, 8)])
def test_the_sum_takes_what_is_said_and_never_a_second_time(
    bits, while_added, monkeypatch
):
    monkeypatch.setattr(sums, "_BLOCK", 1 << 12)
    ring, count = Ring(bits), 1 << 19
    packed = bytes(ring.packed_bytes(count))
    total = UploadSum(ring, count)
    tracemalloc.start()
    total.add(packed)
    added = tracemalloc.get_traced_memory()[1]
    words = total.take()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert while_added * count <= added < while_added * count + (1 << 20)
    assert words.nbytes <= taken < words.nbytes + (1 << 20)
