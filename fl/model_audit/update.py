"""What a server learns from one update that was saved: who was in it, and what.

The update is a file of `attacks.save_observation`, or of any framework that writes the
same (docs/attacks.md). Whether a record moved the model along its own gradient is asked
of members and non-members alike; reconstructions are held against both, too.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import (
    Adversary,
    AttackError,
    Certificate,
    InversionAttack,
    LinearInversion,
    Observation,
    load_observation,
)
from attacks.membership.federated.gradients import Alignment
from attacks.quality import EXACT_TOLERANCE
from fl.errors import ModelError, UpdateError
from fl.finding import Exact, Finding, Group, Measure, Missing, Ranking
from fl.inversion import battery
from fl.model_audit.records import Pool
from fl.model_audit.subject import Subject
from fl.record_gradients import Gradients
from fl.seeds import rng_for, seed_for
from fl.shots import AS_CONFIGURED

COSINE = "gradient cosine"
# Iterations of gradient matching, on at most so many records.
_ITERATIONS, _MATCHED = 100, 8
_METRIC = "exact recoveries (fraction of candidates)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One saved update and the records that may have been in it."""

    seen: Observation
    view: str


def load_update(path: Path, subject: Subject) -> Update:
    """Read a saved update of the audited model's architecture.

    Raises:
        UserError: the file is none, does not fit the model, or the model is no torch
            module.
    """
    if subject.module is None:
        raise ModelError(
            f"--update needs a torch module, and {subject.name} is none; leave it out."
        )
    try:
        seen = load_observation(path, subject.module)
    except AttackError as error:
        raise UpdateError(str(error)) from error
    if seen.gradient is None:
        raise UpdateError(f"{path.name} holds models and no gradient; save an update.")
    if seen.tokens is not None:
        raise UpdateError(
            f"{path.name} is of sequences of tokens; attack it by blindsum attack "
            "inversion --observation."
        )
    count = seen.clients_summed
    view = "one client's update" if count == 1 else f"sum of {count} updates"
    return Update(seen=seen, view=view)


def findings(
    update: Update,
    pool: Pool,
    labels: NDArray[np.int64],
    *,
    protection: str,
    seed: int,
) -> list[Finding]:
    """Attack the update: who was in it, then what was in it.

    Raises:
        UpdateError: the records are of another shape than the update's.
    """
    wanted = tuple(update.seen.input_shape)
    if pool.features.shape[1:] != wanted:
        raise UpdateError(
            f"the update is of records of shape {wanted} and these are "
            f"{pool.features.shape[1:]}; give the records as the client had them."
        )
    x = torch.from_numpy(pool.features).float()
    rows = []
    for attack in (None, *battery(_ITERATIONS)):
        began = time.perf_counter()
        name = COSINE if attack is None else attack.name
        if attack is None:
            measure = _cosine(update, x, labels, pool)
        else:
            measure = _inverted(update, attack, x, pool, seed)
        rows.append(
            Finding(
                protection=protection,
                adversary=Adversary.SERVER,
                view=update.view,
                scenario=AS_CONFIGURED,
                attack=name,
                measures=(measure,),
                seeds=(),
                seconds=time.perf_counter() - began,
            )
        )
    return rows


def _cosine(
    update: Update, x: torch.Tensor, labels: NDArray[np.int64], pool: Pool
) -> Measure:
    model = copy.deepcopy(update.seen.model).float().eval()
    gradient = update.seen.gradient
    assert gradient is not None  # `load_update` has looked
    descent = torch.cat(
        [gradient[name].flatten().float() for name, _ in model.named_parameters()]
    )
    gradients = Gradients(model, x, torch.from_numpy(labels))
    aligned = Alignment.of(gradients, descent[None].numpy())
    group = Group(
        scores=aligned.cosines()[0],
        members=pool.members,
        records=np.arange(len(pool), dtype=np.int64),
        persons=pool.persons,
    )
    return Ranking(groups=(group,))


def _inverted(
    update: Update, attack: InversionAttack, x: torch.Tensor, pool: Pool, seed: int
) -> Measure:
    """Hold what an attack rebuilt against the members, and against the others."""
    many = (update.seen.records or _MATCHED + 1) > _MATCHED
    if many and not isinstance(attack, LinearInversion):
        return Missing(
            metric=_METRIC,
            why=f"it is for at most {_MATCHED} records a step, known as such.",
        )
    try:
        result = attack.run(update.seen, seed=seed_for(seed, "update", attack.name))
    except AttackError as error:
        return Missing(metric=_METRIC, why=str(error))
    if not len(result.inputs):
        return Missing(metric=_METRIC, why=result.reason)
    low, high = update.seen.value_range or (float(x.min()), float(x.max()))
    tolerance = EXACT_TOLERANCE * (high - low)
    inside, outside = np.flatnonzero(pool.members), np.flatnonzero(~pool.members)
    certified = result.certificate is Certificate.CERTIFIED
    if not certified and len(inside) > len(outside):
        # Chance must get as many records to hit as the truth has.
        rng = rng_for(seed, "strangers")
        inside = rng.choice(inside, len(outside), replace=False)
    hits = _matches(result.inputs, x[torch.from_numpy(inside)], tolerance)
    nulls = _matches(result.inputs, x[torch.from_numpy(outside)], tolerance)
    return Exact(
        metric=_METRIC,
        hits=hits,
        nulls=nulls,
        certified=int(hits.sum()) if certified else 0,
        strangers=max(1, len(outside) // len(inside)),
    )


def _matches(
    found: torch.Tensor, records: torch.Tensor, tolerance: float
) -> NDArray[np.bool_]:
    """Say which candidates equal some record but for rounding, (candidates,)."""
    known = records.flatten(1)
    each = [
        bool(((known - one.flatten().float()).abs().amax(dim=1) <= tolerance).any())
        for one in found.detach()
    ]
    return np.array(each, dtype=np.bool_)
