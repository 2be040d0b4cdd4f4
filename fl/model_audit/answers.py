"""What a model says of records, as logits, and which column each label means."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl.errors import DataError, ModelError, UserError
from fl.model_audit.subject import Subject

Floats = NDArray[np.float64]
# Records asked about at once; bounds memory, changes no result.
CHUNK = 2048
# Probabilities below this count as this: an estimator that says 0 is not that sure.
LEAST_PROBABILITY = 1e-12
_SUMS_TO_ONE = 1e-3


def logits(subject: Subject, features: NDArray[Any]) -> Floats:
    """Ask the model about every record.

    Returns:
        (N, classes) float64, finite: logits, or logarithms of probabilities.

    Raises:
        ModelError: it cannot take the records, or answers with something else.
    """
    parts = []
    for at in range(0, len(features), CHUNK):
        chunk = features[at : at + CHUNK]
        try:
            said = subject.answer(chunk)
        except UserError:
            raise
        except Exception as error:  # somebody else's model may raise anything
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"{subject.name} cannot take records of shape {chunk.shape[1:]}, "
                f"{chunk.dtype} ({first}); give records as the model was fed."
            ) from error
        parts.append(_plain(said, len(chunk), subject.name))
    if len({part.shape[1:] for part in parts}) > 1:
        raise ModelError(f"{subject.name} answers with varying numbers of classes.")
    return as_logits(np.concatenate(parts), subject.name)


def as_logits(said: Floats, name: str) -> Floats:
    """Turn probabilities into their logarithms, and one column into two.

    Rows that are never negative and add up to one are probabilities, as is one column
    within 0 and 1; everything else is taken for logits.

    Raises:
        ModelError: not finite, or fewer than two classes.
    """
    if not np.isfinite(said).all():
        raise ModelError(f"{name} answers with NaN or infinity; correct the model.")
    if said.ndim == 1 or said.shape[1] == 1:
        one = said.reshape(-1)
        if 0 <= one.min() and one.max() <= 1:
            said = np.stack([1 - one, one], axis=1)
        else:
            said = np.stack([np.zeros_like(one), one], axis=1)
    sums = said.sum(axis=1)
    if said.min() >= 0 and np.abs(sums - 1).max() <= _SUMS_TO_ONE:
        return np.asarray(np.log(np.maximum(said, LEAST_PROBABILITY)))
    return said


def places(
    labels: NDArray[np.generic], classes: int, names: tuple[object, ...] | None
) -> NDArray[np.int64]:
    """Say which column of the answers each label means.

    Whole numbers from 0 are columns as they are; others, and text, are matched with the
    names that the model has, or else stand for the columns in sorted order.

    Raises:
        DataError: a label that the model has no column for.
    """
    distinct, inverse = np.unique(labels, return_inverse=True)
    of: NDArray[np.int64] = inverse.astype(np.int64)
    if names is not None:
        known = {_word(name): column for column, name in enumerate(names)}
        columns = [known.get(_word(one)) for one in distinct.tolist()]
        if None in columns or len(known) != classes:
            raise DataError(
                f"a label is none of the {classes} classes that the model knows; give "
                "the labels as it was trained with them."
            )
        matched: NDArray[np.int64] = np.array(columns, dtype=np.int64)[of]
        return matched
    numbers = distinct.dtype.kind in "iu"
    if numbers and 0 <= distinct[0] and distinct[-1] < classes:
        plain: NDArray[np.int64] = labels.astype(np.int64)
        return plain
    if len(distinct) != classes:
        raise DataError(
            f"the records have {len(distinct)} different labels and the model "
            f"{classes} classes, so nobody can say which is which; number the labels "
            "0, 1, ... as the model's outputs."
        )
    return of


def _word(name: object) -> str:
    text = str(name)
    return text[:-2] if text.endswith(".0") else text


def _plain(said: object, count: int, name: str) -> Floats:
    if isinstance(said, torch.Tensor):
        said = said.detach().cpu().numpy()
    try:
        found = np.asarray(said, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} answers with a {type(said).__name__}; return an array of "
            "probabilities or logits."
        ) from error
    if found.ndim not in (1, 2) or len(found) != count:
        raise ModelError(
            f"{name} answers {count} records with shape {found.shape}; return one row "
            "of probabilities or logits for each."
        )
    return found
