"""From a round's transcript to what an adversary saw of it: an ``attacks.Observation``.

Everything here is computed from the bytes that crossed the wire and from what colluders
know of themselves; ground truth never enters. An upload under a mask or a cipher is
read as if it carried none, which is all that a server can do with one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary, Observation
from fl.config import Config, TrainingConfig
from fl.federation import Client, Federation
from fl.local import learning_rate_at
from fl.models import build, load_vector, named_like
from fl.protection import Protection
from fl.round import Snapshot
from fl.seeds import seed_for
from secagg.aggregator import Aggregate
from secagg.transcript import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What everybody knows of a round: architecture, released model, how it is trained.

    Attributes:
        federation: shapes and classes only are read from it.
        config: the public configuration.
        protection: says which steps clients take.
        training: the step sizes in force (the worst case takes one step).
        records: that a client has on average, which is public.
    """

    federation: Federation
    config: Config
    protection: Protection
    training: TrainingConfig
    records: float

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

    def colluders(self) -> tuple[Client, ...]:
        """Return the clients that side with the server."""
        return self.federation.colluders(self.config.federation.corrupt)

    def steps(self, records: float) -> int:
        """Return how many steps a client with so many records takes in a round."""
        if self.protection.example is not None:
            return self.protection.example.settings.steps
        per_epoch = max(1, math.ceil(records / self.training.batch_size))
        return self.training.local_epochs * per_epoch

    def rate(self, index: int, steps: int) -> float:
        """Return how far a gradient moves a client per step in round ``index``.

        Under Adam a change is no multiple of a gradient; the server reads it as one.
        """
        if self.protection.example is None:
            full, kept = learning_rate_at(self.training, index), self.training.momentum
        else:
            own = self.protection.example.settings
            full, kept = own.learning_rate, own.momentum
        # Heavy-ball momentum carries a gradient on through the steps that follow it.
        carried = [(1 - kept**j) / (1 - kept) for j in range(1, steps + 1)]
        return full * sum(carried) / steps

    def sgd(self, index: int) -> tuple[float | None, float | None, int | None]:
        """Return learning rate, momentum and epochs of round ``index``, all public.

        None of what is not: Adam steps are no gradients, noisy ones draw their records
        anew each time, so that there are no epochs.
        """
        if self.protection.example is not None:
            own = self.protection.example.settings
            plain = own.optimizer == "sgd"
            return (own.learning_rate, own.momentum, None) if plain else (None,) * 3
        training = self.training
        if training.optimizer != "sgd":
            return (None,) * 3
        rate = learning_rate_at(training, index)
        return rate, training.momentum, training.local_epochs


def of_one_upload(
    scene: Scene, snapshot: Snapshot, client: str, *, view: str
) -> Observation:
    """Return what the server reads in one client's upload (noise, if it is hidden).

    ``view`` names it by what the protection claims; the bytes say what is true.
    """
    upload = snapshot.aggregate.transcript.uploads()[client]
    return _of_upload(scene, snapshot, upload, Adversary.SERVER, view)


def of_opened_upload(
    scene: Scene, snapshot: Snapshot, client: str, *, view: str
) -> Observation:
    """Return what the server reads in an upload with the key that a colluder hands it.

    Raises:
        KeyError: no client's key opens this upload.
    """
    upload = snapshot.opened[client]
    return _of_upload(scene, snapshot, upload, Adversary.SERVER_PLUS, view)


def of_sum(
    scene: Scene, snapshot: Snapshot, *, colluders: Collection[str] = ()
) -> Observation:
    """Return what the server's sum shows, less what colluders know they put in.

    The colluders' own updates and weights are theirs to know; nothing of any other
    client is read.
    """
    change, weight, names = mean_without(snapshot, colluders)
    return _observation(
        scene,
        snapshot,
        change,
        records=_records(scene, weight, len(names)),
        adversary=Adversary.SERVER_PLUS if colluders else Adversary.SERVER,
        view="the honest clients' sum" if colluders else "sum of the cohort",
        clients=len(names),
    )


def of_release(scene: Scene, snapshot: Snapshot, *, own: str) -> Observation:
    """Return what two successive released models show to a client of the cohort.

    It takes off what it put in itself; noise that the server added stays.
    """
    central = scene.protection.central
    others = snapshot.inside - {own}
    if central is None:
        change, _, _ = mean_without(snapshot, {own})
    else:
        share = snapshot.updates[own].astype(np.float64) / central.denominator
        change = snapshot.released.astype(np.float64) - share
    return _observation(
        scene,
        snapshot,
        change,
        records=scene.records,
        adversary=Adversary.CLIENT,
        view="change of the released model",
        clients=len(others),
    )


def _of_upload(
    scene: Scene, snapshot: Snapshot, upload: Upload, adversary: Adversary, view: str
) -> Observation:
    # A weight that cannot be one (masked, so hidden) tells the server nothing.
    weight = upload.weight or _mean_weight(snapshot.aggregate)
    return _observation(
        scene,
        snapshot,
        upload.vector[: len(snapshot.before)],  # what may come after is no parameter
        records=_records(scene, weight, 1),
        adversary=adversary,
        view=view,
        clients=1,
        known=upload.known,
    )


def _records(scene: Scene, weight: float, clients: int) -> float:
    """Return how many records a client has, from weights or from what is usual."""
    if scene.protection.unit is None:
        return weight / clients
    return scene.records  # every client weighs one


def mean_without(
    snapshot: Snapshot, colluders: Collection[str]
) -> tuple[NDArray[np.float64], int, tuple[str, ...]]:
    """Take the colluders' own inputs off the released sum.

    Returns:
        The weighted mean of the other survivors, its weight, and who they are.
    """
    aggregate = snapshot.aggregate
    total = aggregate.mean.astype(np.float64) * aggregate.weight
    # Who uploaded zeros adds nothing, and is none of those that the mean is over.
    weight = aggregate.weight - len(aggregate.survivors & snapshot.absent)
    for name in snapshot.inside.intersection(colluders):
        total -= snapshot.updates[name].astype(np.float64) * snapshot.weights[name]
        weight -= snapshot.weights[name]
    others = tuple(sorted(snapshot.inside.difference(colluders)))
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
    known: NDArray[np.bool_] | None = None,
) -> Observation:
    steps = scene.steps(records)
    lr, momentum, epochs = scene.sgd(snapshot.index)
    model = scene.model(snapshot.before)
    gradient = {
        name: -value / (scene.rate(snapshot.index, steps) * steps)
        for name, value in named_like(model, change).items()
    }
    return Observation(
        adversary=adversary,
        view=view,
        model=model,
        gradient=gradient,
        # Several steps over all records are read as one step on all of them; who takes
        # them one by one (`fl.inversion`) reads the size of a step's batch instead.
        batch_size=max(1, round(records)),
        steps=steps,
        labels=None,
        input_shape=scene.federation.input_shape,
        classes=scene.federation.classes,
        value_range=scene.federation.value_range,
        clients_summed=clients,
        lr=lr,
        momentum=momentum,
        epochs=epochs,
        known=None if known is None else _named(model, known),
    )


def _named(model: torch.nn.Module, flags: NDArray[np.bool_]) -> dict[str, torch.Tensor]:
    named = named_like(model, flags.astype(np.float32))
    return {name: part.bool() for name, part in named.items()}


def _mean_weight(aggregate: Aggregate) -> float:
    return aggregate.weight / len(aggregate.survivors)
