"""Reference models: trained alike by whoever asks, on records that a table names.

A folder with one file of parameters a model, of the audited model's architecture, and
`membership.csv`: its header names the files, and each line below is a record, 1 under
the models that it trained and 0 under the others. First come the records of the
members' file, then those of the non-members', in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attacks import AttackError
from attacks.membership.folds import scored
from attacks.membership.known import Known, ShadowAnswers
from attacks.membership.lira import SHADOWS_NEEDED, SIDE_NEEDED
from attacks.membership.registry import ATTACKS, tuned
from fl.data.cells import number_in
from fl.data.sheet import read_sheet
from fl.errors import DataError, ModelError
from fl.model_audit.answers import logits
from fl.model_audit.records import Pool
from fl.model_audit.subject import Subject, of_object
from fl.model_audit.weights import with_weights

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

TABLE = "membership.csv"
# What is tried by default, of all that reference models allow: the strongest first, and
# one that needs models without the record only. The rest is for `blindsum attack`.
WITH_BOTH = ("lira", "rmia", "calibrated")
WITHOUT = ("lira-offline", "rmia-offline", "calibrated")
TITLES = tuple(ATTACKS[name].title for name in WITH_BOTH)
# Those that never learn who is known not to be a member.
BLIND_TITLES = tuple(
    ATTACKS[name].title
    for name in (*WITH_BOTH, *WITHOUT)
    if not ATTACKS[name].needs.population
)

# Records drawn by chance are as unlike membership as this but once in 500 million.
_DEVIATIONS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What reference models say of every record, and who trained which.

    Attributes:
        answers: (S, N, classes) with the (S, N) membership.
    """

    answers: ShadowAnswers


def from_folder(
    folder: Path, pool: Pool, subject: Subject, labels: NDArray[np.int64]
) -> References:
    """Read the models of a folder and ask them about every record.

    Raises:
        UserError: there is no table, a file of it is missing or of another model, or
            the audited model is no torch module.
    """
    if subject.module is None:
        raise ModelError(
            f"--models holds files of parameters, and {subject.name} has none to be "
            "like; from Python give models=[(model, trained_on), ...]."
        )
    names, trained_on = _table(folder, pool)
    found = []
    for name in names:
        module = with_weights(folder / name, subject.module)
        found.append((of_object(module, name), trained_on[:, names.index(name)]))
    return asked(found, pool, labels)


def from_objects(
    given: Sequence[tuple[object, NDArray[np.bool_]]],
    pool: Pool,
    labels: NDArray[np.int64],
) -> References:
    """Ask models that a caller has, each with who trained it.

    Args:
        given: pairs of a model and (records,) bool, the records in the order of the two
            sets as they were given.
        pool: the records.
        labels: their columns.

    Raises:
        UserError: a model cannot be asked, or bits do not fit the records.
    """
    models = []
    for number, (model, bits) in enumerate(given):
        trained_on = np.asarray(bits)
        if trained_on.shape != (pool.given,) or trained_on.dtype != np.bool_:
            raise DataError(
                f"models: reference {number} comes with {trained_on.shape} of "
                f"{trained_on.dtype}; give one bool for each of the {pool.given} "
                "records."
            )
        models.append((of_object(model, f"reference {number}"), trained_on[pool.rows]))
    return asked(models, pool, labels)


def asked(
    models: Sequence[tuple[Subject, Bits]], pool: Pool, labels: NDArray[np.int64]
) -> References:
    """Return what the models say.

    Raises:
        UserError: none was given, they answer unlike the audited model, or one was
            trained on records chosen by who is a member.
    """
    if not models:
        raise DataError("models: there is no reference model; leave it out.")
    for subject, bits in models:
        _check_unrelated(subject.name, bits, pool.members)
    said = [logits(subject, pool.features) for subject, _ in models]
    if len({one.shape for one in said}) > 1 or int(labels.max()) >= said[0].shape[1]:
        raise ModelError("models: reference models answer with other classes.")
    answers = ShadowAnswers(
        logits=np.stack(said).astype(np.float32),
        labels=labels,
        members=np.stack([bits for _, bits in models]),
    )
    return References(answers=answers)


def attack(
    references: References,
    target_logits: Floats,
    members: Bits,
    *,
    seed: int,
) -> dict[str, Floats | str]:
    """Score the records by every attack that these references allow.

    Returns:
        By name, higher for members, or why it could not be run. Scores are made without
        the bits of the target's members, apart from RMIA's, which ranks a record among
        known non-members of other folds; see `fl.model_audit.lower`.
    """
    answers = references.answers
    known = Known(
        labels=answers.labels, seed=seed, logits=target_logits, shadows=answers
    )
    found: dict[str, Floats | str] = {}
    for name in WITH_BOTH if _on_both_sides(answers.members) else WITHOUT:
        chosen = ATTACKS[name]
        try:
            if name == "rmia-offline":
                known = _with_prior(known, answers)
            found[chosen.title] = scored(chosen, known, ~members, seed=seed)
        except AttackError as error:
            found[chosen.title] = str(error)
    return found


def _check_unrelated(name: str, bits: Bits, members: Bits) -> None:
    """Refuse a reference whose records were chosen by who is a member.

    An attacker does not know that: the table would tell what is to be found out.
    """
    if bits.all() or not bits.any():
        return  # trained on none of these records, or on all: that tells nothing
    correlation = float(np.corrcoef(bits, members)[0, 1])
    if abs(correlation) * len(bits) ** 0.5 > _DEVIATIONS:
        raise DataError(
            f"{name} was trained on members {'more' if correlation > 0 else 'less'} "
            "often than on others; choose the records of reference models without "
            "looking at who is a member."
        )


def _on_both_sides(members: Bits) -> bool:
    """Say whether there are models enough with, and without, every record."""
    inside = members.sum(axis=0)
    fewest = min(inside.min(), len(members) - inside.max())
    return len(members) >= SHADOWS_NEEDED and bool(fewest >= SIDE_NEEDED)


def _with_prior(known: Known, answers: ShadowAnswers) -> Known:
    return Known(
        labels=known.labels,
        seed=known.seed,
        logits=known.logits,
        shadows=answers,
        prior=tuned(answers),
    )


def _table(folder: Path, pool: Pool) -> tuple[list[str], Bits]:
    path = folder / TABLE
    if not path.is_file():
        raise DataError(
            f"--models: {folder} holds no {TABLE}, which says who trained which model; "
            "write one."
        )
    sheet = read_sheet(path, "--models")
    if len(sheet.rows) != pool.given:
        raise DataError(
            f"{TABLE} has {len(sheet.rows)} lines of records and the two files have "
            f"{pool.given}; give one line for each, members first."
        )
    bits = np.zeros((pool.given, len(sheet.header)), dtype=np.bool_)
    for column, name in enumerate(sheet.header):
        for row, cell in enumerate(sheet.column(name)):
            value = number_in(cell)
            if value not in (0, 1):
                raise DataError(
                    f"{sheet.at(row, name)}: the cell is neither 0 nor 1; correct it."
                )
            bits[row, column] = value == 1
    return list(sheet.header), bits[pool.rows]
