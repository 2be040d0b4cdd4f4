"""Audit one model that was trained elsewhere: things given in, one page out.

``audit_model()`` is the programmer's door, ``run`` the command's. Bad input is refused
before any folder is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.audit import AuditResult
from fl.config import Config, load_config
from fl.data.settings import suffix_of
from fl.errors import ConfigError, DataError
from fl.model_audit.carry_out import Began, Task, carry_out
from fl.model_audit.claims import Claimed, parse
from fl.model_audit.records import Given, load
from fl.model_audit.sources import Request, of_model, of_named, of_scores, with_more
from fl.model_audit.subject import of_object

NAME = "model-audit"
LABEL = "label"


def audit_model(
    predict_or_model: object,
    members: Given | None = None,
    nonmembers: Given | None = None,
    *,
    models: Sequence[tuple[object, NDArray[np.bool_]]] = (),
    update: str | Path | None = None,
    claimed: str | Claimed | None = None,
    random_split: bool = False,
    label: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> AuditResult:
    """Audit a model that was trained elsewhere, and write its page.

    Args:
        predict_or_model: a function from records to probabilities or logits, a torch
            module, a fitted estimator with ``predict_proba``, or the path of a .csv
            file of scores, which takes the place of both sets.
        members: records that it was trained on: a .csv or .npz file, or ``(x, y)``.
        nonmembers: others, from the same source.
        models: reference models that you trained alike, each with (records,) bool that
            say which of the members, followed by the non-members, trained it.
        update: a saved client's update or sum, by `attacks.save_observation`.
        claimed: "epsilon=8 delta=1e-5 unit=example", as whoever trained it states.
        random_split: whether each record was included by a fair coin of its own; only
            then a lower bound on epsilon is measured.
        label: the .csv column to predict; "label" if none is given.
        name: of the run.
        out: the run's folder; None makes ``runs/<UTC time>-<name>``.
        seed: of the intervals.

    Returns:
        The folder and the report; a gate that failed is in ``report.gates``.

    Raises:
        UserError: bad input; nothing was written.
    """
    began = Began.now()
    config = _config(members, label, (), seed)
    where = None if out is None else Path(out)
    claim = parse(claimed) if isinstance(claimed, str) else claimed
    if isinstance(predict_or_model, str | Path):
        if members is not None or nonmembers is not None or models or update:
            raise ConfigError(
                f"{predict_or_model} is a file of scores, which say who is a member; "
                "leave out everything else, or give a model."
            )
        found = of_scores(Path(predict_or_model))
    elif members is None or nonmembers is None:
        raise DataError("members and nonmembers are missing; give both sets.")
    else:
        subject = of_object(predict_or_model)
        pool = load(members, nonmembers, config.data, coins=random_split)
        found = with_more(
            of_model(subject, pool), subject, models=models, update=update
        )
    given: dict[str, str | float | bool | None] = {
        "model": found.name,
        "models": len(models),
        "update": None if update is None else Path(update).name,
        "claimed": None if claim is None else str(claim),
        "random_split": random_split,
    }
    task = Task(
        found=found, claimed=claim, coins=random_split, given=given, name=name or NAME
    )
    return carry_out(task, config, began, out=where, force=False)


def run(request: Request, *, out: Path | None, force: bool) -> AuditResult:
    """Audit what the command line names.

    Raises:
        UserError: bad input; nothing was written.
    """
    began = Began.now()
    config = _config(request.members, request.label, request.sets, request.seed)
    claim = None if request.claimed is None else parse(request.claimed)
    if request.scores is not None:
        others = (request.model, request.arch, request.members, request.nonmembers)
        if any(one is not None for one in (*others, request.models, request.update)):
            raise ConfigError(
                "--scores takes the place of --model, --arch, --members, "
                "--nonmembers, --models and --update; leave them out."
            )
        found = of_scores(request.scores)
    else:
        found = of_named(request, config)
    given: dict[str, str | float | bool | None] = {
        "model": _shown(request.model),
        "arch": request.arch,
        "members": _shown(request.members),
        "nonmembers": _shown(request.nonmembers),
        "scores": _shown(request.scores),
        "models": _shown(request.models),
        "update": _shown(request.update),
        "claimed": request.claimed,
        "coins": request.coins,
        **{
            key: value for key, _, value in (one.partition("=") for one in request.sets)
        },
    }
    task = Task(
        found=found,
        claimed=claim,
        coins=request.coins,
        given=given,
        name=request.name or _slug(found.name),
    )
    return carry_out(task, config, began, out=out, force=force)


def _config(
    members: object, label: str | None, sets: Sequence[str], seed: int
) -> Config:
    """Return what is declared of the records, the model's sizes and where runs go."""
    for one in sets:
        if not one.startswith(("data.", "model.", "output.")):
            raise ConfigError(
                f"--set {one.partition('=')[0]} is of training, and nothing is trained "
                "here; only keys of data, model and output are listened to."
            )
    # Which keys may be given depends on the kind of file.
    kind = suffix_of(str(members)) if isinstance(members, str | Path) else ""
    implied = [f"data.source=members{kind}"] if kind in (".csv", ".npz") else []
    if kind == ".csv":
        implied.append(f"data.label={json.dumps(label or LABEL)}")
    elif label is not None:
        raise ConfigError("--label names a column of .csv files; leave it out.")
    return load_config(None, [*implied, *sets], seed=seed)


def _shown(given: str | Path | None) -> str | None:
    """Return a file without its folder, which is nobody's affair."""
    return None if given is None else Path(given).name


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or NAME
