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
    """A round kept whole: the model and clip norm before it, and what came after.

    Attributes:
        before: the model that it began from.
        after: the SHA-256 of the one that it released.
        clip_norm_l2: bound on its updates.
    """

    before: Vector
    after: str
    clip_norm_l2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run up to the end of a round.

    Attributes:
        rounds: one record per finished round.
        model: the released model, (parameters,) float32.
        clip_norm_l2: bound on the updates of the next round.
        kept: by index, the rounds kept whole.
        due: the next round is kept in the place of one that was aborted.
        releases: by party, how many releases its ledger holds.
        refusals: by party, how often its ledger refused.
        seconds: wall time of the training so far.
    """

    rounds: tuple[RoundRecord, ...]
    model: Vector
    clip_norm_l2: float
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
            "kept": [
                [
                    index,
                    checkpoint.kept[index].after,
                    checkpoint.kept[index].clip_norm_l2,
                ]
                for index in order
            ],
            "clip_norm_l2": checkpoint.clip_norm_l2,
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
            int(index): KeptRound(
                before=row, after=str(after), clip_norm_l2=float(clip)
            )
            for (index, after, clip), row in zip(fields["kept"], before, strict=True)
        }
        found = Checkpoint(
            rounds=rounds,
            model=model,
            clip_norm_l2=float(fields["clip_norm_l2"]),
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
