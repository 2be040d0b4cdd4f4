"""Run the membership attacks on every model that an adversary gets to see.

Targets are the real models of the run: each client's own model where uploads are in the
clear, the honest sum's model for a server with colluders, the released model for all.
Scores are made without membership bits; these only enter the findings' groups. The
likelihood-ratio attack rests on shadow federations (`fl.shadows`) shared by all
targets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import (
    Adversary,
    Trainer,
    balanced_memberships,
    lira,
    logit_scaled_confidence,
    loss_threshold,
)
from attacks.membership.lira import SIDE_NEEDED
from fl.config import Config
from fl.federation import Client, Federation
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.local import evaluate, predict_logits
from fl.looks import BOTH, FILLED, OPENED
from fl.models import build, load_vector
from fl.protection import Protection
from fl.round import Snapshot
from fl.run import RunRecord
from fl.seeds import seed_for
from fl.shots import AS_CONFIGURED, WORST_CASE
from fl.view import mean_without
from secagg.transcript import Upload

LOSS, LIRA = "loss threshold", "LiRA"
RATES = (0.1, 0.01)
EVERYBODY = (Adversary.OUTSIDER, Adversary.CLIENT, *BOTH)
# Who has what the clients have, and who has not, where results stay with them.
INSIDERS, OUTSIDE = (Adversary.CLIENT, *BOTH[1:]), (Adversary.OUTSIDER, *BOTH[:1])

Vector = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadows:
    """What the likelihood-ratio attack knows: scores of shadow models.

    Attributes:
        phi: (shadows, records) logit-scaled confidences.
        members: (shadows, records) bool.
        seconds: spent training them.
    """

    phi: NDArray[np.float64]
    members: NDArray[np.bool_]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model to attack: its parameters, who trained it, and who else is asked of."""

    parameters: Vector
    members: NDArray[np.int64]
    nonmembers: NDArray[np.int64]
    federation: Federation


def train_shadows(
    trainer: Trainer, federation: Federation, config: Config, *, seed: int
) -> Shadows | Missing:
    """Train the shadow federations; every record is in equally many of them.

    Where records say whose they are, a person's are in a shadow together.

    Returns:
        The shadows, or why none were trained: too few would be without a record.
    """
    began = time.perf_counter()
    dataset, shadows = federation.dataset, config.attacks.shadows
    fraction = len(federation.train_ids) / len(dataset.labels)
    inside = round(shadows * fraction)
    if not SIDE_NEEDED <= inside <= shadows - SIDE_NEEDED:
        why = (
            f"each record would be in {inside} of {shadows} shadow models, and "
            f"{SIDE_NEEDED} with and {SIDE_NEEDED} without it are needed; raise "
            "attacks.shadows or change data.test_fraction."
        )
        return Missing(metric="AUC", why=why)
    # All records of a person are in or out together: a shadow without a record but with
    # its like would show what it does not know.
    persons = dataset.subjects
    if persons is None:
        persons = np.arange(len(dataset.labels))
    _, of = np.unique(persons, return_inverse=True)
    members = balanced_memberships(
        shadows, int(of.max()) + 1, fraction, seed=seed_for(seed, "shadow membership")
    )[:, of]
    logits = trainer.logits(members, seed=seed_for(seed, "shadows"))
    phi = np.stack([logit_scaled_confidence(one, dataset.labels) for one in logits])
    return Shadows(phi=phi, members=members, seconds=time.perf_counter() - began)


def findings(
    runs: Sequence[tuple[RunRecord, Federation]],
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack every model that each adversary sees under ``protection``."""
    attack = _Attacker(protection.name, shadows, config)
    released = [
        Target(
            parameters=run.final,
            members=fed.train_ids,
            nonmembers=fed.held_out.ids,
            federation=fed,
        )
        for run, fed in runs
    ]
    seeds = tuple(run.seed for run, _ in runs)
    who = EVERYBODY if protection.clients_only is None else INSIDERS
    rows = attack.rank(LOSS, who, "released model", released, seeds)
    rows += attack.rank(LIRA, who, "released model", released, seeds)
    if protection.clients_only is not None:
        why = Missing(metric="AUC", why=protection.clients_only)
        rows += [_kept_back(protection.name, one, why, seeds) for one in OUTSIDE]
    for view, adversaries, targets in _inside(runs, protection, config):
        if targets:  # a last round of colluders alone holds nobody else's records
            rows += attack.rank(LOSS, adversaries, view, targets, seeds)
    rows.append(_no_worst_case(protection.name, seeds))
    return rows


def _inside(
    runs: Sequence[tuple[RunRecord, Federation]],
    protection: Protection,
    config: Config,
) -> Iterator[tuple[str, tuple[Adversary, ...], list[Target]]]:
    """Yield the models that only the server or its colluders can build."""
    chosen = protection.selective
    if protection.hides_one_upload is None:
        read = [one for run, fed in runs for one in _uploads(run, fed, config)]
        if chosen is None:
            yield "one client's model", BOTH, read
            return
        yield f"one client's model, {FILLED}", BOTH[:1], read
    if protection.central is not None:  # before the noise that all others see
        targets = [_summed(run, fed, ()) for run, fed in runs]
        yield "sum of the cohort", BOTH, targets
    if not config.federation.corrupt:
        return
    if protection.shared_key is not None:
        targets = [
            one for run, fed in runs for one in _uploads(run, fed, config, opened=True)
        ]
        part = f", {FILLED}" if chosen is not None and not chosen.is_open else ""
        yield f"one client's model, {OPENED}{part}", BOTH[1:], targets
        if not part:
            return
    known = {id(fed): fed.colluders(config.federation.corrupt) for _, fed in runs}
    targets = [
        _summed(run, fed, known[id(fed)])
        for run, fed in runs
        if not run.snapshots[-1].inside <= {client.name for client in known[id(fed)]}
    ]
    yield "the honest clients' sum", BOTH[1:], targets


@dataclass(frozen=True, slots=True)
class _Attacker:
    protection: str
    shadows: Shadows | Missing
    config: Config

    def rank(
        self,
        name: str,
        adversaries: Sequence[Adversary],
        view: str,
        targets: Sequence[Target],
        seeds: tuple[int, ...],
    ) -> list[Finding]:
        """Score the targets once, for all adversaries who see them."""
        began = time.perf_counter()
        measures = self._lira(targets) if name == LIRA else self._loss(targets)
        seconds = time.perf_counter() - began
        if name == LIRA and isinstance(self.shadows, Shadows):
            # One set of shadows serves all protections; each attack would need it.
            seconds += self.shadows.seconds
        return [
            Finding(
                protection=self.protection,
                adversary=adversary,
                view=view,
                scenario=AS_CONFIGURED,
                attack=name,
                measures=measures,
                seeds=seeds,
                seconds=seconds,
            )
            for adversary in adversaries
        ]

    def _loss(self, targets: Sequence[Target]) -> tuple[Measure, ...]:
        groups = []
        for target in targets:
            dataset = target.federation.dataset
            x, y = torch.from_numpy(dataset.features), torch.from_numpy(dataset.labels)
            _, losses = evaluate(_model(target, self.config), x, y)
            groups.append(_group(target, loss_threshold(losses)))
        return (Ranking(groups=tuple(groups)),)

    def _lira(self, targets: Sequence[Target]) -> tuple[Measure, ...]:
        if isinstance(self.shadows, Missing):
            return (self.shadows,)
        scored = []
        for target in targets:
            dataset = target.federation.dataset
            model = _model(target, self.config)
            logits = predict_logits(model, torch.from_numpy(dataset.features))
            phi = logit_scaled_confidence(logits, dataset.labels)
            scores = lira(phi, self.shadows.phi, self.shadows.members)
            scored.append(_group(target, scores))
        groups = tuple(scored)
        return (
            Ranking(groups=groups),
            *(Ranking(groups=groups, fpr=rate) for rate in RATES),
        )


def _group(target: Target, scores: NDArray[np.float64]) -> Group:
    # Non-members are held-out records: other clients' records are neither.
    ids = np.concatenate([target.members, target.nonmembers])
    return Group(
        scores=scores[ids],
        members=np.arange(len(ids)) < len(target.members),
        records=ids,
    )


def _uploads(
    run: RunRecord, federation: Federation, config: Config, *, opened: bool = False
) -> list[Target]:
    last = run.snapshots[-1]
    uploads = last.opened if opened else last.aggregate.transcript.uploads()
    colluders = {one.name for one in federation.colluders(config.federation.corrupt)}
    return [
        Target(
            parameters=last.before + _read(uploads[client.name], last),
            members=client.ids,
            nonmembers=federation.held_out_like(
                client.ids, federation.held_out_of(client.name)
            ),
            federation=federation,
        )
        for client in federation.clients
        if client.name in uploads and client.name not in colluders
    ]


def _read(upload: Upload, last: Snapshot) -> Vector:
    """Return what is read of an upload, and the mean where nothing is."""
    vector = upload.vector[: len(last.before)]
    if upload.known is None:
        return vector
    return np.where(upload.known, vector, last.aggregate.mean)


def _summed(
    run: RunRecord, federation: Federation, colluders: Sequence[Client]
) -> Target:
    last = run.snapshots[-1]
    change, _, names = mean_without(last, {client.name for client in colluders})
    inside = np.concatenate(
        [client.ids for client in federation.clients if client.name in names]
    )
    return Target(
        parameters=last.before + change,
        members=inside,
        nonmembers=federation.held_out_like(inside, federation.held_out.ids),
        federation=federation,
    )


def _model(target: Target, config: Config) -> torch.nn.Module:
    federation = target.federation
    model = build(config.model, federation.input_shape, federation.classes, 0)
    load_vector(model, target.parameters.astype(np.float32))
    return model


def _kept_back(
    protection: str, adversary: Adversary, why: Missing, seeds: tuple[int, ...]
) -> Finding:
    return Finding(
        protection=protection,
        adversary=adversary,
        view="released model",
        scenario=AS_CONFIGURED,
        attack=LOSS,
        measures=(why,),
        seeds=seeds,
    )


def _no_worst_case(protection: str, seeds: tuple[int, ...]) -> Finding:
    why = (
        "membership in the worst case is measured by the canaries beside epsilon, "
        "under protections that claim one."
    )
    return Finding(
        protection=protection,
        adversary=Adversary.OUTSIDER,
        view="released model",
        scenario=WORST_CASE,
        attack=LIRA,
        measures=(Missing(metric="AUC", why=why),),
        seeds=seeds,
    )
