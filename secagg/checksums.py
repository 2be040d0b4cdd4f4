"""Public linear forms of a vector of ring words, which notice a wrong unmasking.

The forms of a sum are the sums of the forms.  ``encode`` says what they detect and what
they do not.  This module knows no floats, weights or bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from secagg import usage
from secagg.prg import KEY_BYTES, Keystream
from secagg.ring import RingVector
from secagg.threads import parts, run

_BLOCK_BYTES: Final = 1 << 17
_VALUES_PER_THREAD: Final = 1 << 19  # a millisecond of work; a thread costs 0.1 ms


def checksums(words: RingVector, forms: int, binding: bytes) -> RingVector:
    """Return k public linear forms of words, modulo 2^w; the same for any threads.

    Form j has the coefficients a_j, a_(j+1), ...: the rows of a Toeplitz matrix.  For
    an error e, let i be the last index at which e / 2^h is odd, with 2^h dividing all
    of e.  Modulo 2, form j holds a_(i+j) and otherwise only earlier a's, so the forms
    of e / 2^h are independent and uniform, as if each had coefficients of its own.

    Args:
        words: shape (count,), of w = 16, 32 or 64 bits.
        forms: k.
        binding: Gives the coefficients; equal for all of one sum.
    """
    more, itemsize = forms - 1, words.itemsize
    size = min(_BLOCK_BYTES // itemsize, -(-len(words) // 16) * 16)
    key = usage.digest(usage.TAG_INTEGRITY, binding)[:KEY_BYTES]
    sums: list[list[int]] = []

    def work(ranges: Iterator[range]) -> None:
        row = np.empty(size + more, dtype=words.dtype)
        product = np.empty(size, dtype=words.dtype)
        found, following = [0] * forms, -1
        for part in parts(ranges, len(words), size):
            if part.start != following:
                most = max(size, more) * itemsize
                stream = Keystream(key, most, part.start * itemsize)
                row[size:] = stream.take(more, 8 * itemsize)
            following, count = part.stop, part.stop - part.start
            row[:more] = row[size:]
            row[more : more + count] = stream.take(count, 8 * itemsize)
            for j in range(forms):
                np.multiply(words[part], row[j : j + count], out=product[:count])
                found[j] += int(np.add.reduce(product[:count], dtype=words.dtype))
        sums.append(found)

    run(work, -(-len(words) // size), worth=len(words) // _VALUES_PER_THREAD)
    modulus = 1 << 8 * itemsize
    totals = [sum(form) % modulus for form in zip(*sums, strict=True)]
    return np.array(totals, dtype=words.dtype)
