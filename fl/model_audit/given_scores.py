"""Read scores that somebody else computed: one line a record, no model and no values.

member        0 or 1
score         higher says "member"                    (any of these three)
loss          the model's loss on the record
p_CLASS       its probabilities of the classes, with `label` naming the column
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import number_in
from fl.data.sheet import Sheet, read_sheet
from fl.errors import DataError
from fl.model_audit.answers import LEAST_PROBABILITY, places
from fl.model_audit.records import check_enough, numbered

Floats = NDArray[np.float64]
MEMBER, SCORE, LOSS, LABEL, OF_CLASS = "member", "score", "loss", "label", "p_"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenScores:
    """What a scores file holds; None where it has no such column.

    Attributes:
        members: (N,) bool.
        score: (N,) higher says "member".
        losses: (N,).
        logits: (N, classes), logarithms of probabilities.
        labels: (N,) columns of `logits`.
        provenance: the file and its digest.
    """

    members: NDArray[np.bool_]
    score: Floats | None
    losses: Floats | None
    logits: Floats | None
    labels: NDArray[np.int64] | None
    provenance: str


def read_scores(path: Path) -> GivenScores:
    """Read a .csv file of scores.

    Raises:
        DataError: no such file, a column or a cell is missing or wrong; the cell is
            never quoted.
    """
    if not path.is_file():
        raise DataError(f"scores: no file {path}; give the .csv file of scores.")
    sheet = read_sheet(path, "scores")
    if MEMBER not in sheet.header:
        raise DataError(
            f"{sheet.file} has no column {MEMBER}; add it, 1 for members and 0 for "
            "others."
        )
    members = _numbers(sheet, MEMBER)
    if not np.isin(members, (0, 1)).all():
        raise DataError(f"{sheet.file}: column {MEMBER} holds more than 0 and 1.")
    check_enough(members == 1)
    logits, labels = _probabilities(sheet)
    score = _numbers(sheet, SCORE) if SCORE in sheet.header else None
    losses = _numbers(sheet, LOSS) if LOSS in sheet.header else None
    if score is None and losses is None and logits is None:
        raise DataError(
            f"{sheet.file} has none of the columns {SCORE}, {LOSS} and "
            f"{OF_CLASS}CLASS; add one of them."
        )
    return GivenScores(
        members=members == 1,
        score=score,
        losses=losses,
        logits=logits,
        labels=labels,
        provenance=sheet.provenance,
    )


def _probabilities(sheet: Sheet) -> tuple[Floats | None, NDArray[np.int64] | None]:
    columns = [name for name in sheet.header if name.startswith(OF_CLASS)]
    if not columns:
        return None, None
    chances = np.stack([_numbers(sheet, name) for name in columns], axis=1)
    if chances.shape[1] < 2 or chances.min() < 0 or chances.max() > 1:
        raise DataError(
            f"{sheet.file}: the columns {OF_CLASS}CLASS must be probabilities of two "
            "classes or more."
        )
    logits = np.log(np.maximum(chances, LEAST_PROBABILITY))
    if LABEL not in sheet.header:
        return logits, None
    names = tuple(name.removeprefix(OF_CLASS) for name in columns)
    labels = numbered(np.array(sheet.column(LABEL)))
    return logits, places(labels, len(names), names)


def _numbers(sheet: Sheet, name: str) -> Floats:
    found = []
    for row, cell in enumerate(sheet.column(name)):
        number = number_in(cell)
        if number is None:
            raise DataError(
                f"{sheet.at(row, name)}: the cell is not a finite number; correct it."
            )
        found.append(number)
    return np.array(found, dtype=np.float64)
