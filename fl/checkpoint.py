"""Where a run stands after some rounds: all that it takes to go on to the same bits.

Rounds kept whole for the audit are not stored, only the model that each began from:
all else in a round follows from the seed, so it is played again, and the model that it
releases must come out with the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fl.errors import ResumeError
from fl.run_record import RoundRecord
from fl.shelf import Piece

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRound:
    """A round kept whole: the model before it, and the SHA-256 of the one after."""

    before: Vector
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run up to the end of a round.

    Attributes:
        rounds: one record per finished round.
        model: the released model, (parameters,) float32.
        kept: by index, the rounds kept whole.
        due: the next round is kept in the place of one that was aborted.
        releases: by party, how many releases its ledger holds.
        refusals: by party, how often its ledger refused.
        seconds: wall time of the training so far.
    """

    rounds: tuple[RoundRecord, ...]
    model: Vector
    kept: Mapping[int, KeptRound]
    due: bool
    releases: Mapping[str, int]
    refusals: Mapping[str, int]
    seconds: float


def digest(model: Vector) -> str:
    """Return the SHA-256 of a model's parameters."""
    return hashlib.sha256(
        np.ascontiguousarray(model, dtype="<f4").tobytes()
    ).hexdigest()


def to_piece(checkpoint: Checkpoint) -> Piece:
    """Return the checkpoint as fields and arrays."""
    order = sorted(checkpoint.kept)
    length = len(checkpoint.model)
    before = [checkpoint.kept[index].before for index in order]
    return Piece(
        fields={
            "rounds": [asdict(one) for one in checkpoint.rounds],
            "kept": [[index, checkpoint.kept[index].after] for index in order],
            "due": checkpoint.due,
            "releases": dict(checkpoint.releases),
            "refusals": dict(checkpoint.refusals),
            "seconds": checkpoint.seconds,
        },
        arrays={
            "model": checkpoint.model,
            "before": np.array(before, dtype=np.float32).reshape(len(order), length),
        },
    )


def from_piece(piece: Piece) -> Checkpoint:
    """Return the checkpoint that a piece holds.

    Raises:
        ResumeError: it holds something else.
    """
    try:
        fields, model = piece.fields, piece.arrays["model"]
        before = piece.arrays["before"]
        rounds = tuple(RoundRecord(**one) for one in fields["rounds"])
        kept = {
            int(index): KeptRound(before=row, after=str(after))
            for (index, after), row in zip(fields["kept"], before, strict=True)
        }
        found = Checkpoint(
            rounds=rounds,
            model=model,
            kept=kept,
            due=bool(fields["due"]),
            releases=dict(fields["releases"]),
            refusals=dict(fields["refusals"]),
            seconds=float(fields["seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(
            f"a checkpoint lacks what it should hold: {error}."
        ) from error
    if (
        [one.index for one in rounds] != list(range(len(rounds)))
        or not set(kept) <= set(range(len(rounds)))
        or model.dtype != np.float32
        or before.dtype != np.float32
        or before.shape != (len(kept), *model.shape)
        or model.ndim != 1
    ):
        raise ResumeError("a checkpoint's rounds and models do not fit each other.")
    return found
