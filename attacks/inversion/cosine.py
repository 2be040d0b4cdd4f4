"""Inverting gradients: match their direction, in a box, with smooth images.

Geiping et al., NeurIPS 2020, arXiv 2003.14053: cosine distance and total variation,
Adam on the sign of the slope. Several observations of one model are attacked in one
flat batch, each with its own restarts. One step is replayed: updates of several local
steps are matched as if they were one.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.errors import LabelsUnavailable, ParameterError
from attacks.inversion.answers import DID_NOT_FINISH, NOT_FINITE, candidates
from attacks.inversion.attack import Reconstruction, refused
from attacks.inversion.distance import as_target, cosine_distance, is_matchable
from attacks.inversion.labels import estimate_labels
from attacks.inversion.prior import draw_guesses, is_image, total_variation
from attacks.inversion.replay import replay_of
from attacks.inversion.search import Found, Search, search
from attacks.observation import Observation, require


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One observation that can be attacked."""

    seen: Observation
    target: dict[str, Tensor]
    labels: Tensor
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineTV:
    """Match gradient directions by signed Adam in a box.

    Guarantee: deterministic for a seed; a positive factor on the gradient changes
    nothing, so clipping alone does not stop it.

    Args:
        iterations: steps per restart.
        restarts: starting points, searched side by side; see `Search.halvings`.
        step: step size in units of the value range (of 1 if that is unknown).
        smoothness: weight of the total variation; images only.
        halvings: see `Search`.
    """

    name: ClassVar[str] = "cosine+TV"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset({"labels", "value_range", "known"})
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3
    halvings: tuple[float, ...] = (0.05, 0.1, 0.2)

    def __post_init__(self) -> None:
        self._search()
        if self.restarts < 1:
            raise ParameterError(f"restarts={self.restarts} must be at least 1.")
        if not self.smoothness >= 0:
            raise ParameterError("smoothness must not be negative.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one step.

        Returns:
            All records of the step, uncertified; refused if no restart stayed finite
            or no labels can be had. `objective` is the distance plus the penalty.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        return self.run_many([observation], seeds=[seed])[0]

    def run_many(
        self, observations: Sequence[Observation], *, seeds: Sequence[int]
    ) -> list[Reconstruction]:
        """Attack several observations; those of one model and size in one batch.

        Guarantee: each answer is what `run` gives, up to rounding; `seconds` of those
        that were attacked together are their shares.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        began = time.perf_counter()
        answers: dict[int, Reconstruction] = {}
        groups: dict[bytes, list[tuple[int, _Trial]]] = {}
        for place, (one, seed) in enumerate(zip(observations, seeds, strict=True)):
            trial = self._prepare(one, seed)
            if isinstance(trial, Reconstruction):
                answers[place] = trial
            else:
                groups.setdefault(_kind(trial), []).append((place, trial))
        for group in groups.values():
            found = self._attack([trial for _, trial in group])
            seconds = (time.perf_counter() - began) / len(group)
            began = time.perf_counter()
            for row, (place, trial) in enumerate(group):
                reached = float(found.objective[row])
                answers[place] = (
                    candidates(
                        trial.seen, found.inputs[row], trial.labels, reached, seconds
                    )
                    if math.isfinite(reached)
                    else refused(trial.seen, DID_NOT_FINISH, seconds)
                )
        return [answers[place] for place in range(len(observations))]

    def _prepare(self, observation: Observation, seed: int) -> _Trial | Reconstruction:
        began = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        target = as_target(seen)
        if not is_matchable(target):
            return refused(seen, NOT_FINITE, time.perf_counter() - began)
        labels = seen.labels
        if labels is None:
            try:
                labels = estimate_labels(seen, seed=seed)
            except LabelsUnavailable as error:
                return refused(seen, str(error), time.perf_counter() - began)
        labels = labels.to(next(seen.model.parameters()).device)
        return _Trial(seen, target, labels, seed)

    def _attack(self, trials: Sequence[_Trial]) -> Found:
        first = trials[0]
        seen, anchor = first.seen, next(first.seen.model.parameters())
        shape = (seen.records or 1, *seen.input_shape)
        starts = [
            draw_guesses(
                self.restarts,
                shape,
                seen.value_range,
                torch.Generator().manual_seed(trial.seed),
            )
            for trial in trials
        ]
        labels = functional.one_hot(
            torch.stack([trial.labels for trial in trials]), seen.classes
        ).to(anchor.dtype)
        targets = {
            name: torch.stack([trial.target[name] for trial in trials])
            for name in first.target
        }
        replay = replay_of(seen.model, first.target)
        distance = cosine_distance(
            replay, targets, labels, seen.input_shape, seen.known
        )
        low, high = seen.value_range or (0.0, 1.0)
        smooth = is_image(seen.input_shape) and self.smoothness > 0

        def objective(guesses: Tensor) -> Tensor:
            value = distance(guesses)
            if smooth:
                variation = total_variation(guesses, batch_axes=2) / (high - low)
                value = value + self.smoothness * variation
            return value

        start = torch.stack(starts).to(anchor.device, anchor.dtype)
        return search(objective, start, seen.value_range, self._search())

    def _search(self) -> Search:
        return Search(
            iterations=self.iterations, step=self.step, halvings=self.halvings
        )


def _kind(trial: _Trial) -> bytes:
    """Return what trials must have in common to be attacked in one batch."""
    seen = trial.seen
    known = hashlib.sha256()
    sizes = (seen.records, seen.input_shape, seen.classes, seen.value_range)
    modes = [part.training for part in seen.model.modules()]
    known.update(repr((sizes, modes, repr(seen.model), list(trial.target))).encode())
    for name, value in (*seen.model.state_dict().items(), *(seen.known or {}).items()):
        known.update(name.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        known.update(flat.view(torch.uint8).numpy())
    return known.digest()
