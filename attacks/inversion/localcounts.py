"""Count labels behind several local steps, by repeating the training on other records.

Over several steps the probabilities in `n db_j = sum p_ij - count_j` move with the
model. Whoever holds labelled records of the same kind can replay the client's training
with guessed class frequencies f and see how the bias moves. Around a guess that is
linear in f: one simulated update per class, in which the class is over-represented,
gives the matrix, non-negative least squares the frequencies; then once more around
the answer.

This is the idea of RLU (Chen and Vikalo, ICML 2024, arXiv 2405.00955): least squares
over simulated local epochs instead of a frozen model. Their closed-form moments
of "erroneous confidence" are replaced by whole simulated updates, which lets momentum,
any schedule and any number of epochs in through the caller's own training routine.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from attacks.errors import ParameterError
from attacks.inversion.counts import (
    LabelCounts,
    answer,
    certain_counts,
    head_of,
    refused,
    why_no_proof,
)
from attacks.inversion.labels import whole_counts
from attacks.inversion.layers import last_linear
from attacks.observation import Observation, require

_TILTS = (0.5, 0.25)  # how far a class is over-represented, round by round
_WHOLE = 1e3  # weight of "frequencies sum to one" in the least squares


class LocalTraining(Protocol):
    """The client's local training, as the attacker knows it."""

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, *, seed: int
    ) -> Mapping[str, Tensor]:
        """Train a copy; return the update in the units of `Observation.gradient`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalCounts:
    """Count the labels of one epoch of local training; certified where bounds add up.

    Guarantee: certified counts need neither simulation nor auxiliary records, only a
    true `batch_size`, `steps`, `epochs` and `momentum`. Estimates are deterministic in
    the seed.

    Args:
        inputs: labelled records of the same kind that the attacker holds, (M, *shape).
        labels: their classes, int64 (M,).
        train: the client's training routine with its known settings.
    """

    name: ClassVar[str] = "local label counts"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"gradient", "batch_size", "steps", "epochs"}
    )
    uses: ClassVar[frozenset[str]] = frozenset({"momentum"})
    inputs: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    train: LocalTraining = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or len(self.labels) == 0:
            raise ParameterError(
                f"LocalCounts needs as many auxiliary labels as records, at least one; "
                f"got {len(self.labels)} and {len(self.inputs)}."
            )

    def run(self, observation: Observation, *, seed: int) -> LabelCounts:
        """Count the labels of one epoch of local training.

        Raises:
            MissingKnowledge: a needed field is unknown.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        head, why_not = head_of(seen)
        if head is None:
            return refused(seen, why_not, start)
        processed = (seen.records or 1) * (seen.steps or 1)
        epochs = seen.epochs or 1
        if processed % epochs:
            why_not = f"{processed} records do not make {epochs} equal epochs."
            return refused(seen, why_not, start)
        total = processed // epochs
        # A step's gradient enters the update at most this many times.
        pace = seen.momentum or 0.0
        heaviest = (1 - pace ** (seen.steps or 1)) / (1 - pace)
        certain = certain_counts(head.slope / heaviest, total)
        plain = seen.momentum is not None or seen.steps == 1
        why_not = why_no_proof(head, premises=plain)
        if int(certain.sum()) == total and not why_not:
            return answer(certain.double(), certain, total, "", "", start)
        expected, misfit = self._fit(seen, head.slope, total, seed)
        if not bool(expected.isfinite().all()):
            return refused(seen, "The simulated training diverges.", start)
        fits = f" The simulated bias misses the observed one by {misfit:.1e}."
        return answer(expected, certain, total, why_not, fits, start)

    def _fit(
        self, seen: Observation, slope: Tensor, total: int, seed: int
    ) -> tuple[Tensor, float]:
        """Return the expected counts and the relative misfit of the bias there."""
        classes = seen.classes
        guess = torch.full((classes,), 1 / classes, dtype=torch.float64)
        for number, tilt in enumerate(_TILTS):
            used, moves = [], []
            for label in range(classes):
                tilted = (1 - tilt) * guess
                tilted[label] += tilt
                made = seed + number * classes + label
                frequencies, move = self._simulate(seen, tilted, total, made)
                used.append(frequencies)
                moves.append(move)
            if not all(bool(move.isfinite().all()) for move in moves):
                return torch.full((classes,), torch.nan), float("inf")
            # moves = matrix @ used, one column per class.
            matrix = torch.stack(moves, 1) @ torch.linalg.pinv(torch.stack(used, 1))
            guess = _in_simplex(matrix, slope)
        _, move = self._simulate(seen, guess, total, seed)
        return guess * total, float((move - slope).norm() / slope.norm())

    def _simulate(
        self, seen: Observation, frequencies: Tensor, total: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return the frequencies really drawn and how the bias moves under them."""
        site = last_linear(seen.model, seen.input_shape, seen.classes)
        name = "" if site is None else site.bias or ""
        nothing = torch.zeros(seen.classes, dtype=torch.int64)
        counts = whole_counts(frequencies * total, nothing, total)
        inputs, labels = self._draw(counts, seed)
        update = self.train(seen.model, inputs, labels, seed=seed)
        return counts.double() / total, update[name].double().cpu()

    def _draw(self, counts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw records with these class counts; a class not held borrows any record."""
        generator = torch.Generator().manual_seed(seed)
        chosen = []
        for label, count in enumerate(counts.tolist()):
            own = torch.nonzero(self.labels.cpu() == label).flatten()
            pool = own if len(own) else torch.arange(len(self.labels))
            picks = torch.randint(0, len(pool), (count,), generator=generator)
            chosen.append(pool[picks])
        labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
        order = torch.randperm(len(labels), generator=generator)
        return self.inputs[torch.cat(chosen)[order]], labels[order]


def _in_simplex(matrix: Tensor, target: Tensor) -> Tensor:
    """Return f >= 0 with sum one that minimises |matrix f - target|."""
    size = float(matrix.abs().max())
    ones = torch.ones((1, matrix.shape[1]), dtype=torch.float64)
    left = torch.cat([matrix, _WHOLE * size * ones])
    right = torch.cat([target, torch.tensor([_WHOLE * size]).double()])
    found, _ = nnls(left.numpy(), right.numpy())
    return torch.from_numpy(found)
