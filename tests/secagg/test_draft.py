"""A draft becomes its message in place, whoever looks on."""

import tracemalloc

import numpy as np
import pytest

from secagg.draft import Draft
from secagg.errors import LocalProtocolError
from secagg.ring import Ring

HEAD = b"sixty-eight bytes or so"


@pytest.mark.parametrize("bits", [1, 7, 16, 20, 32, 42, 59, 64])
@pytest.mark.parametrize("count", [1, 63, 64, 643])
@pytest.mark.parametrize("watched", [False, True])
def test_the_message_is_the_head_and_the_packed_words(
    bits, count, watched, monkeypatch
):
    monkeypatch.setattr("secagg.packing._BLOCK", 64)
    ring = Ring(bits)
    words = np.random.default_rng(bits).integers(0, 2**64, count, dtype=np.uint64)
    draft = Draft(ring, count, len(HEAD))
    assert not draft.words.any() and draft.words.ctypes.data % 64 == 0
    draft.words[:] = words.astype(ring.dtype)
    seen = draft.words if watched else None
    message = draft.message(HEAD)
    assert type(message) is bytes
    assert message == HEAD + ring.pack(words.astype(ring.dtype))
    if seen is not None:
        seen[:] = 0  # which is not in the message
        assert message == HEAD + ring.pack(words.astype(ring.dtype))


def test_a_draft_gives_one_message():
    draft = Draft(Ring(20), 3, 0)
    draft.message(b"")
    with pytest.raises(LocalProtocolError, match="one message"):
        draft.message(b"")


@pytest.mark.parametrize("bits", [26, 42, 64])
def test_a_message_takes_the_memory_of_its_words(bits):
    ring, count = Ring(bits), 1 << 19
    tracemalloc.start()
    draft = Draft(ring, count, len(HEAD))
    draft.words.fill(3)
    message = draft.message(HEAD)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = count * ring.dtype.itemsize
    assert peak < size + (2 << 20)
    assert len(message) <= kept < len(message) + 10_000
