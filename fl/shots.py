"""Which messages are attacked: victims drawn from the run and from worst-case rounds.

A shot is one observation with the truth kept beside it for scoring; attacks get the
observation alone. One client is the victim of each round, the honest ones in turn, so
that every view has the same number of victims. A client that is drawn again is
attacked again, on another update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary, Field, Observation
from fl.config import Config
from fl.federation import Client, Federation
from fl.looks import BOTH, Look, looks
from fl.protection import Protection
from fl.run import RunRecord
from fl.seeds import seed_for
from fl.view import Scene, of_sum
from fl.worst_case import Probe, probe

AS_CONFIGURED, WORST_CASE = "as configured", "worst case"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One observation to attack, and what it is scored against.

    Attributes:
        protection: under which the messages crossed the wire.
        adversaries: who sees this view.
        scenario: where the messages come from.
        view: what is looked at, in words; shots of one view form one sample.
        observation: all that an attack gets.
        step_records: of a client in one of its local steps, which is public.
        x: (records, *input_shape), the truth.
        y: (records,) int64, the true labels.
        pool: other real records, none equal to a training record, for the nulls.
        fields: of a table's rows, for scoring; () for others.
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
    step_records: int
    x: torch.Tensor
    y: torch.Tensor
    pool: torch.Tensor
    fields: tuple[Field, ...]
    prior: torch.Tensor
    seed: int
    unit: str
    number: int
    prevented: str | None


def from_run(
    run: RunRecord, federation: Federation, protection: Protection, config: Config
) -> Iterator[Shot]:
    """Yield the shots of one repetition's own messages."""
    scene = Scene(
        federation=federation,
        config=config,
        protection=protection,
        training=config.training,
        records=len(federation.train_ids) / len(federation.clients),
    )
    truth = {client.name: client for client in federation.clients}
    for number, snapshot in enumerate(run.snapshots):
        turn = number + seed_for(run.seed, "victim") % len(truth)
        for look in looks(scene, snapshot, turn):
            yield _shot(
                look, scene, truth, scenario=AS_CONFIGURED, seed=run.seed, number=turn
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
            protection,
            config,
            checkpoint,
            batch=batch,
            trial=trial,
            seed=seed,
        )
        scene = _scene(done, federation, config, batch)
        for look in looks(scene, done.snapshot, trial):
            yield _shot(
                look,
                scene,
                done.batches,
                scenario=WORST_CASE,
                label=f", batch {batch}, {name} model",
                seed=seed,
                number=trial,
            )


def from_crowd(
    checkpoint: NDArray[np.float32],
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    colluders: Sequence[int],
    dropouts: int,
    trial: int,
    seed: int,
) -> Iterator[Shot]:
    """Yield the sums that ``dropouts`` leave, less 0, 1, ... colluders' own inputs.

    One record a client and one step: the weakest moment of a crowd of a given size.
    """
    done = probe(
        federation,
        protection,
        config,
        checkpoint,
        batch=1,
        trial=trial,
        seed=seed,
        dropouts=dropouts,
    )
    scene = _scene(done, federation, config, 1)
    survivors = done.snapshot.aggregate.survivors
    for count in colluders:
        known = {client.name for client in federation.colluders(count)}
        look = Look(
            observation=of_sum(scene, done.snapshot, colluders=known),
            names=sorted(survivors - known),
            adversaries=BOTH[1:] if known else BOTH,
        )
        yield _shot(
            look,
            scene,
            done.batches,
            scenario=WORST_CASE,
            view=crowd_view(len(look.names)),
            seed=seed,
            number=trial,
        )


def crowd_view(honest: int) -> str:
    """Return what the sum of so many honest one-record updates is called."""
    return f"sum of {honest} honest updates, batch 1, trained model"


def _scene(done: Probe, federation: Federation, config: Config, batch: int) -> Scene:
    return Scene(
        federation=federation,
        config=config,
        protection=done.protection,
        training=done.training,
        records=batch,
    )


def _shot(
    look: Look,
    scene: Scene,
    truth: Mapping[str, Client],
    *,
    scenario: str,
    seed: int,
    number: int,
    label: str = "",
    view: str = "",
) -> Shot:
    # Worst-case batches are drawn anew; rounds of a run use the same records, and the
    # cohorts of two rounds overlap, so that all sums of a run count as one victim.
    drawn = [str(number)] if scenario == WORST_CASE else []
    whose = look.names if len(look.names) == 1 else ["sum"]
    counts = {name: truth[name].records for name in look.names}
    return Shot(
        protection=scene.protection.name,
        adversaries=look.adversaries,
        scenario=scenario,
        view=view or look.observation.view + label,
        observation=look.observation,
        step_records=min(scene.training.batch_size, look.observation.batch_size or 1),
        x=torch.cat([truth[name].x for name in look.names]),
        y=torch.cat([truth[name].y for name in look.names]),
        pool=scene.federation.strangers_like(counts),
        fields=scene.federation.dataset.fields,
        prior=_label_prior(scene.federation, counts),
        seed=seed,
        unit=" ".join([str(seed), *drawn, *whose]),
        number=number,
        prevented=look.prevented,
    )


def _label_prior(federation: Federation, counts: Mapping[str, int]) -> torch.Tensor:
    """Return the class frequencies that the clients' held-out records suggest."""
    labels = torch.from_numpy(federation.dataset.labels)
    prior = torch.zeros(federation.classes, dtype=torch.float64)
    for name, count in counts.items():
        own = labels[torch.from_numpy(federation.held_out_of(name))]
        seen = torch.bincount(own, minlength=len(prior)).double()
        prior += seen * (count / len(own))
    return prior
