"""Who trains in a stack: records, a key of the draws, a model to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl.errors import ModelError


class Member(NamedTuple):
    """One client.

    Attributes:
        x: (N, *input_shape) float32; with ``rows``, a table of more records, the very
            same for all members.
        y: (N,) int64; with ``rows``, the table's labels.
        key: of its draws, in [0, 2^63).
        start: which of the released models it starts from.
        subjects: (N,) int64, equal for records of one person; None if nobody says.
        rows: (N,) int64, which records of the table are its own; None: all of ``x``.
            Models that overlap (shadow models) thus train without copies.
    """

    x: Tensor
    y: Tensor
    key: int
    start: int = 0
    subjects: NDArray[np.int64] | None = None
    rows: Tensor | None = None

    @property
    def records(self) -> int:
        """Return N."""
        return self.y.numel() if self.rows is None else self.rows.numel()

    @property
    def record_bytes(self) -> int:
        """Return what a stack takes for its records beside a shared table."""
        if self.rows is not None:
            return 8 * self.records
        return self.x.numel() * self.x.element_size()


def records_of(members: Sequence[Member]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return all records and labels, and which of them are each member's, in a row.

    Raises:
        ModelError: some members share a table, and others do not.
    """
    x, y = members[0].x, members[0].y
    rows = [member.rows for member in members if member.rows is not None]
    if not rows:
        return (
            torch.cat([m.x for m in members]),
            torch.cat([m.y for m in members]),
            None,
        )
    if len(rows) < len(members) or any(m.x is not x or m.y is not y for m in members):
        raise ModelError(
            "members with rows of a table must all share that very table; give every "
            "member the same x and y, or none of them rows."
        )
    return x, y, torch.cat(rows)
