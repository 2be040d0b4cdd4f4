"""Which messages are attacked: victims drawn from the run and from worst-case rounds.

A shot is one observation with the truth kept beside it for scoring; attacks get the
observation alone. One client is the victim of each round, the honest ones in turn, so
that every view has the same number of victims. With more rounds than honest clients a
client is attacked again, on another update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary, Observation
from fl.config import Config
from fl.federation import Federation
from fl.protection import Protection
from fl.round import Snapshot
from fl.run import RunRecord
from fl.seeds import seed_for
from fl.view import Scene, of_one_upload, of_sum
from fl.worst_case import Probe, probe

AS_CONFIGURED, WORST_CASE = "as configured", "worst case"
PLAIN_UPLOAD, MASKED_UPLOAD = "one upload", "one masked upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One observation to attack, and what it is scored against.

    Attributes:
        protection: under which the messages crossed the wire.
        adversaries: who sees this view.
        scenario: where the messages come from.
        view: what is looked at, in words; shots of one view form one sample.
        observation: all that an attack gets.
        x: (records, *input_shape), the truth.
        y: (records,) int64, the true labels.
        pool: other real records, none equal to a training record, for the nulls.
        prior: (classes,), in the proportions of the held-out labels: what a guess
            that sees no message can know.
        seed: of the repetition.
        unit: whose records these are; shots of one unit share records, so they count
            as one victim.
        number: of the shot within its view, so that attacks draw differently.
        prevented: the rule that proves the view worthless, or None.
    """

    protection: str
    adversaries: tuple[Adversary, ...]
    scenario: str
    view: str
    observation: Observation
    x: torch.Tensor
    y: torch.Tensor
    pool: torch.Tensor
    prior: torch.Tensor
    seed: int
    unit: str
    number: int
    prevented: str | None


def colluders_of(federation: Federation, config: Config) -> tuple[str, ...]:
    """Return the clients that side with the server: the last ones, as planned."""
    count = config.federation.corrupt
    return tuple(client.name for client in federation.clients[-count:] if count)


def from_run(
    run: RunRecord, federation: Federation, protection: Protection, config: Config
) -> Iterator[Shot]:
    """Yield the shots of one repetition's own messages."""
    scene = Scene(federation=federation, config=config, training=config.training)
    truth = {client.name: (client.x, client.y) for client in federation.clients}
    for number, snapshot in enumerate(run.snapshots):
        yield from _of_round(
            scene,
            snapshot,
            truth,
            protection,
            scenario=AS_CONFIGURED,
            label="",
            seed=run.seed,
            number=number + seed_for(run.seed, "victim") % len(truth),
        )


def from_worst_case(
    checkpoints: Sequence[tuple[str, NDArray[np.float32]]],
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    batch: int,
    trial: int,
    seed: int,
) -> Iterator[Shot]:
    """Yield the shots of one worst-case round per checkpoint."""
    for name, checkpoint in checkpoints:
        done = probe(
            federation,
            protection.aggregator,
            config,
            checkpoint,
            batch=batch,
            trial=trial,
            seed=seed,
        )
        yield from _of_round(
            Scene(federation=federation, config=config, training=done.training),
            done.snapshot,
            _truth(done),
            protection,
            scenario=WORST_CASE,
            label=f", batch {batch}, {name} model",
            seed=seed,
            number=trial,
        )


def _truth(done: Probe) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {name: (client.x, client.y) for name, client in done.batches.items()}


def _of_round(
    scene: Scene,
    snapshot: Snapshot,
    truth: dict[str, tuple[torch.Tensor, torch.Tensor]],
    protection: Protection,
    *,
    scenario: str,
    label: str,
    seed: int,
    number: int,
) -> Iterator[Shot]:
    colluders = colluders_of(scene.federation, scene.config)
    inside = sorted(snapshot.aggregate.survivors)
    honest = [name for name in inside if name not in colluders]
    victim = honest[number % len(honest)]

    def shot(
        observation: Observation,
        names: Sequence[str],
        adversaries: tuple[Adversary, ...],
        prevented: str | None,
    ) -> Shot:
        federation = scene.federation
        # Worst-case batches are drawn anew; rounds of a run use the same records.
        drawn = [str(number)] if scenario == WORST_CASE else []
        counts = {name: len(truth[name][1]) for name in names}
        return Shot(
            protection=protection.name,
            adversaries=adversaries,
            scenario=scenario,
            view=observation.view + label,
            observation=observation,
            x=torch.cat([truth[name][0] for name in names]),
            y=torch.cat([truth[name][1] for name in names]),
            pool=federation.strangers_like(counts),
            prior=_label_prior(federation, counts),
            seed=seed,
            unit=" ".join([str(seed), *drawn, *names]),
            number=number,
            prevented=prevented,
        )

    rule = protection.hides_one_upload
    # Whatever the server sees, the server with its colluders sees too.
    both = (Adversary.SERVER, Adversary.SERVER_PLUS)
    name = PLAIN_UPLOAD if rule is None else MASKED_UPLOAD
    alone = of_one_upload(scene, snapshot, victim, view=name)
    yield shot(alone, [victim], both, rule)
    if rule is None:
        return
    yield shot(of_sum(scene, snapshot), inside, both, None)
    if colluders:
        partial = of_sum(scene, snapshot, colluders=colluders)
        yield shot(partial, honest, both[1:], None)


def _label_prior(federation: Federation, counts: Mapping[str, int]) -> torch.Tensor:
    """Return the class frequencies that the clients' held-out records suggest."""
    labels = torch.from_numpy(federation.dataset.labels)
    prior = torch.zeros(federation.classes, dtype=torch.float64)
    for name, count in counts.items():
        own = labels[torch.from_numpy(federation.held_out_of(name))]
        seen = torch.bincount(own, minlength=len(prior)).double()
        prior += seen * (count / len(own))
    return prior
