"""From what was given to a model's answers on the records, whichever way they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.config import Config
from fl.errors import ConfigError
from fl.model_audit.answers import logits, places
from fl.model_audit.given_scores import read_scores
from fl.model_audit.measure import Asked
from fl.model_audit.records import Pool, load
from fl.model_audit.references import References, from_folder, from_objects
from fl.model_audit.subject import Subject, from_names
from fl.model_audit.update import Update, load_update


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for, as the command line gives it.

    Attributes:
        model: a file of parameters, or package.module:function.
        arch: the class of the model, or a function that returns it ready.
        members, nonmembers: .csv or .npz files.
        scores: a .csv file of scores, in place of all of these.
        models: a folder of reference models.
        update: a saved update.
        claimed: of epsilon, in words.
        coins: whether fair coins decided who is a member.
        label: the .csv column to predict.
        name: of the run; made from the model's where not given.
        sets: overrides, "data.KEY=value" and "model.KEY=value".
        seed: of the intervals.
    """

    model: str | None = None
    arch: str | None = None
    members: str | None = None
    nonmembers: str | None = None
    scores: Path | None = None
    models: Path | None = None
    update: Path | None = None
    claimed: str | None = None
    coins: bool = False
    label: str | None = None
    name: str | None = None
    sets: Sequence[str] = field(default=())
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model's answers, wherever they came from."""

    name: str
    asked: Asked
    pool: Pool | None
    parameters: int | None
    provenance: str
    references: References | None = None
    update: Update | None = None


def of_named(request: Request, config: Config) -> Found:
    """Ask the model that the command line names about its two files of records.

    Raises:
        UserError: a file or a name is missing, or the model cannot take the records.
    """
    if request.members is None or request.nonmembers is None:
        raise ConfigError(
            "--members and --nonmembers are missing; give both files, or --scores."
        )
    pool = load(request.members, request.nonmembers, config.data, coins=request.coins)
    subject = from_names(
        request.model,
        request.arch,
        config.model,
        pool.features.shape[1:],
        _classes(pool),
    )
    found = of_model(subject, pool)
    labels = found.asked.labels
    if request.models is not None and labels is not None:
        more = from_folder(request.models, pool, subject, labels)
        found = replace(found, references=more)
    return with_more(found, subject, update=request.update)


def with_more(
    found: Found,
    subject: Subject,
    *,
    models: Sequence[tuple[object, NDArray[np.bool_]]] = (),
    update: str | Path | None = None,
) -> Found:
    """Add what was given beside a model: others trained alike, and an update.

    Raises:
        UserError: a model cannot be asked, or the update is not of this model.
    """
    pool, labels = found.pool, found.asked.labels
    if models and pool is not None and labels is not None:
        found = replace(found, references=from_objects(models, pool, labels))
    if update is not None:
        found = replace(found, update=load_update(Path(update), subject))
    return found


def _classes(pool: Pool) -> int:
    """Guess how many classes there are, for architectures that take the number."""
    distinct = np.unique(pool.labels)
    if distinct.dtype.kind in "iu" and distinct[0] >= 0:
        counted_from_one = distinct[0] == 1 and len(distinct) == distinct[-1]
        return int(distinct[-1]) if counted_from_one else int(distinct[-1]) + 1
    return len(distinct)


def of_model(subject: Subject, pool: Pool) -> Found:
    """Ask a model about every record of the pool.

    Raises:
        UserError: it cannot take them, or has no column for a label.
    """
    said = logits(subject, pool.features)
    labels = places(pool.labels, said.shape[1], subject.class_names)
    return Found(
        name=subject.name,
        asked=Asked(members=pool.members, logits=said, labels=labels),
        pool=pool,
        parameters=subject.parameters,
        provenance=pool.provenance,
    )


def of_scores(path: Path) -> Found:
    """Take the scores of a file for a model's answers.

    Raises:
        DataError: what is wrong with the file.
    """
    read = read_scores(path)
    return Found(
        name=f"scores of {path.name}",
        asked=Asked(
            members=read.members,
            logits=read.logits,
            labels=read.labels,
            losses=read.losses,
            score=read.score,
        ),
        pool=None,
        parameters=None,
        provenance=read.provenance,
    )
