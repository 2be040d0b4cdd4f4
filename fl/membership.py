"""Run the membership attacks on every model that an adversary gets to see.

Targets are the real models of the run: each client's own model where uploads are in the
clear, the honest sum's model for a server with colluders, the released model for all.
Scores are made without membership bits; these only enter the findings' groups. The
likelihood-ratio attack rests on shadow federations (`fl.shadows`) shared by all
targets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from fl.config import Config
from fl.federation import Federation
from fl.finding import Finding, Group, Missing, Ranking
from fl.local import evaluate, predict_logits
from fl.models import build, load_vector
from fl.protection import Protection
from fl.run import RunRecord
from fl.seeds import seed_for
from fl.shots import AS_CONFIGURED, WORST_CASE, colluders_of
from fl.view import mean_without

LOSS, LIRA = "loss threshold", "LiRA"
RATES = (0.1, 0.01)

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
    """One model to attack: its parameters, who trained it, in which federation."""

    parameters: Vector
    members: NDArray[np.int64]
    federation: Federation


def train_shadows(
    trainer: Trainer, federation: Federation, config: Config, *, seed: int
) -> Shadows:
    """Train the shadow federations; every record is in equally many of them."""
    began = time.perf_counter()
    dataset = federation.dataset
    fraction = len(federation.train_ids) / len(dataset.labels)
    members = balanced_memberships(
        config.attacks.shadows,
        len(dataset.labels),
        fraction,
        seed=seed_for(seed, "shadow membership"),
    )
    logits = trainer.logits(members, seed=seed_for(seed, "shadows"))
    phi = np.stack([logit_scaled_confidence(one, dataset.labels) for one in logits])
    return Shadows(phi=phi, members=members, seconds=time.perf_counter() - began)


def findings(
    runs: Sequence[tuple[RunRecord, Federation]],
    protection: Protection,
    shadows: Shadows,
    config: Config,
) -> list[Finding]:
    """Attack every model that each adversary sees under ``protection``."""
    attack = _Attacker(protection.name, shadows, config)
    released = [
        Target(parameters=run.final, members=fed.train_ids, federation=fed)
        for run, fed in runs
    ]
    seeds = tuple(run.seed for run, _ in runs)
    everyone = (Adversary.OUTSIDER, Adversary.SERVER, Adversary.SERVER_PLUS)
    rows = attack.rank(LOSS, everyone, "released model", released, seeds)
    rows += attack.rank(LIRA, everyone, "released model", released, seeds)
    if protection.hides_one_upload is None:
        alone = [target for run, fed in runs for target in _uploads(run, fed, config)]
        rows += attack.rank(LOSS, everyone[1:], "one client's model", alone, seeds)
    elif config.federation.corrupt:
        partial = [target for run, fed in runs for target in _honest(run, fed, config)]
        view = "sum of the honest updates"
        rows += attack.rank(LOSS, everyone[2:], view, partial, seeds)
    rows.append(_no_worst_case(protection.name, seeds))
    return rows


@dataclass(frozen=True, slots=True)
class _Attacker:
    protection: str
    shadows: Shadows
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
        score = self._lira if name == LIRA else self._loss
        groups = tuple(_group(target, score(target)) for target in targets)
        rates = RATES if name == LIRA else ()
        measures = (
            Ranking(groups=groups),
            *(Ranking(groups=groups, fpr=rate) for rate in rates),
        )
        return [
            Finding(
                protection=self.protection,
                adversary=adversary,
                view=view,
                scenario=AS_CONFIGURED,
                attack=name,
                measures=measures,
                seeds=seeds,
                seconds=time.perf_counter() - began,
            )
            for adversary in adversaries
        ]

    def _loss(self, target: Target) -> NDArray[np.float64]:
        model = _model(target, self.config)
        dataset = target.federation.dataset
        x = torch.from_numpy(dataset.features)
        _, losses = evaluate(model, x, torch.from_numpy(dataset.labels))
        return loss_threshold(losses)

    def _lira(self, target: Target) -> NDArray[np.float64]:
        dataset = target.federation.dataset
        logits = predict_logits(
            _model(target, self.config), torch.from_numpy(dataset.features)
        )
        phi = logit_scaled_confidence(logits, dataset.labels)
        return lira(phi, self.shadows.phi, self.shadows.members)


def _group(target: Target, scores: NDArray[np.float64]) -> Group:
    # Non-members are the held-out records: other clients' records are neither.
    ids = np.concatenate([target.members, target.federation.held_out.ids])
    return Group(
        scores=scores[ids],
        members=np.arange(len(ids)) < len(target.members),
        records=ids,
    )


def _uploads(run: RunRecord, federation: Federation, config: Config) -> list[Target]:
    last = run.snapshots[-1]
    uploads = last.aggregate.transcript.uploads()
    colluders = colluders_of(federation, config)
    return [
        Target(
            parameters=last.before + uploads[client.name].vector,
            members=client.ids,
            federation=federation,
        )
        for client in federation.clients
        if client.name in uploads and client.name not in colluders
    ]


def _honest(run: RunRecord, federation: Federation, config: Config) -> list[Target]:
    last = run.snapshots[-1]
    colluders = colluders_of(federation, config)
    change, _, names = mean_without(last, colluders)
    honest = [client.ids for client in federation.clients if client.name in names]
    return [
        Target(
            parameters=last.before + change,
            members=np.concatenate(honest),
            federation=federation,
        )
    ]


def _model(target: Target, config: Config) -> torch.nn.Module:
    federation = target.federation
    model = build(config.model, federation.input_shape, federation.classes, 0)
    load_vector(model, target.parameters.astype(np.float32))
    return model


def _no_worst_case(protection: str, seeds: tuple[int, ...]) -> Finding:
    why = (
        "membership in the worst case needs canary records, which this version does "
        "not train."
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
