"""Words that become the body of a message in the memory that they lie in.

A client's words take most of its memory.  They are computed where their message will
be: packed in place to the front, which no word that is yet to be packed can be in the
way of, and handed out as ``bytes`` without a copy (``BytesIO`` gives away what it
holds).

This module knows no message and no mask.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import numpy as np

from secagg.errors import LocalProtocolError
from secagg.ring import Ring, RingVector

_LINE_BYTES: Final = 64  # words that start with a line of the cache are added quicker


class Draft:
    """Words, and room before them for a message's head.

    Args:
        ring: Of the words; they are zero at first.
        count: Number of words.
        head_bytes: Size of the head.
    """

    def __init__(self, ring: Ring, count: int, head_bytes: int) -> None:
        size = count * ring.dtype.itemsize
        self._ring, self._head_bytes = ring, head_bytes
        self._file = BytesIO(bytes(head_bytes + _LINE_BYTES + size))
        octets = np.frombuffer(self._file.getbuffer(), np.uint8)
        start = head_bytes + -(octets.ctypes.data + head_bytes) % _LINE_BYTES
        self._words: RingVector | None = octets[start : start + size].view(ring.dtype)

    @property
    def words(self) -> RingVector:
        """The words, shape (count,), to be worked on in place.

        Raises:
            LocalProtocolError: The message was taken (caller).
        """
        if self._words is None:
            raise LocalProtocolError("a draft gives one message.")
        return self._words

    def message(self, head: bytes) -> bytes:
        """Return the head and the packed words, and forget both.

        Whoever still holds ``words`` costs a copy, and sees them no more.

        Args:
            head: ``head_bytes`` of them.

        Raises:
            LocalProtocolError: The message was taken before (caller).
        """
        words, self._words = self.words, None
        start = self._head_bytes
        end = start + self._ring.packed_bytes(len(words))
        with self._file.getbuffer() as view:
            view[:start] = head
            self._ring.pack_into(words, view[start:end])
        del words
        file, self._file = self._file, BytesIO()
        try:
            file.truncate(end)
        except BufferError:
            return bytes(file.getbuffer()[:end])
        return file.getvalue()
