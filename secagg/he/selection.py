"""Which coordinates of a vector are encrypted, as everybody knows it beforehand.

A selection is public.  Whoever chooses it by what the clients' records say tells that
to all; chosen by public things (the architecture, made-up inputs) it tells nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.errors import ParameterError

_Float = TypeVar("_Float", bound=np.floating)


@dataclass(frozen=True, slots=True)
class Selection:
    """Coordinates in two parts, neither of which is empty: hidden ones, and the rest.

    Attributes:
        length: Of the vectors.
        bitmap: One bit per coordinate, set where it is hidden; numpy's order of bits.

    Raises:
        ParameterError: The bitmap is none of that length, or one part is empty
            (caller).
    """

    length: int
    bitmap: bytes = field(repr=False)

    def __post_init__(self) -> None:
        given = np.frombuffer(self.bitmap, dtype=np.uint8)
        if self.length < 2 or len(given) != -(-self.length // 8):
            raise ParameterError(
                f"a bitmap of {len(given)} bytes does not fit length={self.length}; "
                "make the selection by Selection.of or Selection.top.",
                argument="bitmap",
            )
        bits = np.unpackbits(given)
        if bits[self.length :].any() or not 0 < int(bits.sum()) < self.length:
            raise ParameterError(
                "a selection hides at least one coordinate and leaves at least one; "
                "use EncryptedSum to hide all.",
                argument="bitmap",
            )

    @classmethod
    def of(cls, hidden: NDArray[np.bool_]) -> Self:
        """Return the selection that hides where ``hidden``, shape (length,), is set."""
        flags = np.asarray(hidden)
        if flags.dtype != np.bool_ or flags.ndim != 1:
            raise ParameterError("hidden must be flat and boolean.", argument="hidden")
        return cls(len(flags), np.packbits(flags).tobytes())

    @classmethod
    def top(cls, scores: NDArray[np.floating], fraction: float) -> Self:
        """Return the selection of the highest scores; of equal ones the first.

        Args:
            scores: shape (length,), finite; the same bits at all clients.
            fraction: Of the coordinates, in (0, 1); rounded up to whole ones.

        Raises:
            ParameterError: The scores or the fraction are none (caller).
        """
        values = np.asarray(scores)
        if values.dtype.kind != "f":  # negated, unsigned integers would wrap
            raise ParameterError(
                f"scores have dtype {values.dtype}; convert them to float64.",
                argument="scores",
            )
        if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
            raise ParameterError(
                "scores must be flat, finite, and two or more.", argument="scores"
            )
        if not 0.0 < fraction < 1.0:
            raise ParameterError(
                f"fraction={fraction} must lie between 0 and 1; use EncryptedSum to "
                "hide all.",
                argument="fraction",
            )
        count = min(math.ceil(fraction * len(values)), len(values) - 1)
        hidden = np.zeros(len(values), dtype=np.bool_)
        hidden[np.argsort(-values, kind="stable")[:count]] = True
        return cls.of(hidden)

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """Which coordinates are hidden, shape (length,)."""
        bits = np.unpackbits(np.frombuffer(self.bitmap, dtype=np.uint8))
        return bits[: self.length].astype(np.bool_)

    def context(self, outer: bytes, part: bytes) -> bytes:
        """Return the context of one part's sum: clients who select alike agree."""
        size = self.length.to_bytes(8, "big")
        return usage.context(b"selective", part, size, self.bitmap, outer)

    def join(self, hidden: NDArray[_Float], rest: NDArray[_Float]) -> NDArray[_Float]:
        """Put the two parts of a vector back in place, in their dtype."""
        flags = self.hidden
        whole = np.empty(self.length, dtype=hidden.dtype)
        whole[flags], whole[~flags] = hidden, rest
        return whole
