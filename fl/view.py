"""From a round's transcript to what an adversary saw of it: an ``attacks.Observation``.

Everything here is computed from the bytes that crossed the wire and from what colluders
know of themselves; ground truth never enters. An upload under a mask is read as if it
carried no mask, which is all that a server can do with one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import secagg
from attacks import Adversary, Observation
from fl.config import Config, TrainingConfig
from fl.federation import Federation
from fl.models import build, load_vector, named_like
from fl.round import Snapshot
from fl.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What everybody knows of a round: architecture, released model, how it is trained.

    Attributes:
        federation: shapes and classes only are read from it.
        config: the public configuration.
        training: the step sizes in force (the worst case takes one step).
    """

    federation: Federation
    config: Config
    training: TrainingConfig

    def model(self, vector: NDArray[np.float32]) -> torch.nn.Module:
        """Return the released model with the parameters ``vector``."""
        federation = self.federation
        model = build(
            self.config.model,
            federation.input_shape,
            federation.classes,
            seed_for(0, "architecture"),
        )
        load_vector(model, vector)
        return model.eval()


def of_one_upload(
    scene: Scene, snapshot: Snapshot, client: str, *, view: str
) -> Observation:
    """Return what the server reads in one client's upload (noise, if it is masked).

    ``view`` names it by what the protection claims; the bytes say what is true.
    """
    upload = snapshot.aggregate.transcript.uploads()[client]
    # A weight that cannot be one (masked, so hidden) tells the server nothing.
    records = upload.weight or _mean_weight(snapshot.aggregate)
    return _observation(
        scene,
        snapshot,
        upload.vector,
        records=records,
        adversary=Adversary.SERVER,
        view=view,
        clients=1,
    )


def of_sum(
    scene: Scene, snapshot: Snapshot, *, colluders: Collection[str] = ()
) -> Observation:
    """Return what the released sum shows, less what colluders know they put in.

    The colluders' own updates and weights are theirs to know; nothing of any other
    client is read.
    """
    change, weight, names = mean_without(snapshot, colluders)
    clients = len(names)
    return _observation(
        scene,
        snapshot,
        change,
        records=weight / clients,
        adversary=Adversary.SERVER_PLUS if colluders else Adversary.SERVER,
        view=f"sum of {clients} {'honest updates' if colluders else 'updates'}",
        clients=clients,
    )


def mean_without(
    snapshot: Snapshot, colluders: Collection[str]
) -> tuple[NDArray[np.float64], int, tuple[str, ...]]:
    """Take the colluders' own inputs off the released sum.

    Returns:
        The weighted mean of the other survivors, its weight, and who they are.
    """
    aggregate = snapshot.aggregate
    total = aggregate.mean.astype(np.float64) * aggregate.weight
    weight = aggregate.weight
    for name in aggregate.survivors.intersection(colluders):
        total -= snapshot.updates[name].astype(np.float64) * snapshot.weights[name]
        weight -= snapshot.weights[name]
    others = tuple(sorted(aggregate.survivors.difference(colluders)))
    return total / weight, weight, others


def _observation(
    scene: Scene,
    snapshot: Snapshot,
    change: NDArray[np.floating],
    *,
    records: float,
    adversary: Adversary,
    view: str,
    clients: int,
) -> Observation:
    training = scene.training
    steps = training.local_epochs * max(1, math.ceil(records / training.batch_size))
    model = scene.model(snapshot.before)
    gradient = {
        name: -value / (training.learning_rate * steps)
        for name, value in named_like(model, change).items()
    }
    return Observation(
        adversary=adversary,
        view=view,
        model=model,
        gradient=gradient,
        # Several steps over all records are read as one step on all of them.
        batch_size=max(1, round(records)),
        steps=steps,
        labels=None,
        input_shape=scene.federation.input_shape,
        classes=scene.federation.classes,
        value_range=scene.federation.value_range,
        clients_summed=clients,
    )


def _mean_weight(aggregate: secagg.Aggregate) -> float:
    return aggregate.weight / len(aggregate.survivors)
