"""What is read of the asked records in a change of the model, kept once it is made.

Gradients are those at the released model that the round began from, by
`fl.record_gradients`; models that are asked are the released one with the change in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from attacks import logit_scaled_confidence
from attacks.membership.federated import (
    Alignment,
    Background,
    as_measured,
    background,
    matched_filter,
)
from attacks.membership.federated.registry import Signal
from fl.local import predict_logits
from fl.membership.changes import Seen
from fl.record_gradients import Gradients
from fl.round import Snapshot
from fl.view import Scene
from fl.workload import GRADIENTS

Floats = NDArray[np.float64]
Vector = NDArray[np.floating]
# A logit beyond it says the same: a model read off a masked upload is no model.
LARGEST = 1e6


class Measurer:
    """Measures the records of one run."""

    def __init__(
        self, scene: Scene, rows: NDArray[np.int64], population: NDArray[np.bool_]
    ) -> None:
        """Take what is public, the records, and which of them are in nobody's training.

        Args:
            scene: of the run.
            rows: (records,) row numbers in the data set.
            population: (records,) bool.
        """
        dataset = scene.federation.dataset
        self._scene = scene
        self._x = torch.from_numpy(dataset.features[rows])
        self._y = torch.from_numpy(dataset.labels[rows])
        self._population = np.flatnonzero(population)[:GRADIENTS]
        self._known: dict[int, Background] = {}

    def of_changes(self, signal: Signal, seen: Seen) -> Mapping[str, Floats]:
        """Return what a round's changes say of the records, (records,) by client."""
        names = list(seen.changes)
        changes = [seen.changes[name] for name in names]
        if signal in (Signal.LOSS, Signal.CONFIDENCE):
            before = seen.snapshot.before
            found = [self.of_model(signal, before + change) for change in changes]
        else:
            found = list(self._of_gradients(signal, seen, np.stack(changes)))
        return dict(zip(names, found, strict=True))

    def of_model(self, signal: Signal, vector: Vector) -> Floats:
        """Return what a model says of the records, (records,)."""
        with np.errstate(over="ignore"):
            model = self._scene.model(vector.astype(np.float32))
        logits = predict_logits(model, self._x)
        logits = np.nan_to_num(logits, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        logits = np.clip(logits, -LARGEST, LARGEST)
        if signal is Signal.CONFIDENCE:
            return logit_scaled_confidence(logits, self._y.numpy())
        losses = cross_entropy(torch.from_numpy(logits), self._y, reduction="none")
        return as_measured(losses.numpy())

    def _of_gradients(
        self, signal: Signal, seen: Seen, changes: Vector
    ) -> Sequence[Floats]:
        # How far a gradient moves a client's model over the round, on average.
        scene = self._scene
        steps = scene.steps(scene.records)
        reach = scene.rate(seen.snapshot.index, steps) * steps
        descents = -changes / reach
        if signal is Signal.FILTER:
            return list(self._filtered(seen.snapshot, descents))
        alignment = Alignment.of(self._gradients(seen.snapshot), descents)
        if signal is Signal.COSINE:
            return list(alignment.cosines())
        # One record's share in a mean over all that are in it.
        share = np.full(len(changes), 1 / (scene.records * seen.clients))
        return list(alignment.differences(share))

    def _filtered(self, snapshot: Snapshot, descents: Vector) -> Floats:
        gradients, index = self._gradients(snapshot), snapshot.index
        if index not in self._known:
            population = gradients.made(self._population)
            self._known[index] = background(gradients, population)
        return matched_filter(self._known[index], gradients, descents)

    def _gradients(self, snapshot: Snapshot) -> Gradients:
        return Gradients(self._scene.model(snapshot.before), self._x, self._y)
