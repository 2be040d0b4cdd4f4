"""GradInversion: match gradients and batch norm statistics, several seeds as a group.

Yin et al., CVPR 2021, arXiv 2104.07586. The squared distance of gradients, the total
variation, the norm of the records, the statistics of the batch at every batch norm
(where the adversary knows them), and a pull of all starting points towards their
common mean. Labels, if not known, are the rows of the last layer's gradient with the
lowest minima, where no class occurs twice.

Not here: the registration of images before the group's mean is taken (records are
compared place by place, which labels make meaningful where they are distinct), and the
noise on the guesses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.attack import Reconstruction
from attacks.inversion.batchnorm import batch_statistics, statistics_gap
from attacks.inversion.distance import squared_distances
from attacks.inversion.labels import estimate_labels
from attacks.inversion.layers import last_linear
from attacks.inversion.matching import Group, Objective, Recipe, match
from attacks.inversion.prior import is_image, total_variation
from attacks.inversion.search import Schedule, Search, Sign
from attacks.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class GradInversion:
    """Match gradients and statistics by Adam, restarts as a group.

    Guarantee: deterministic for a seed.

    Args:
        iterations: steps per restart.
        restarts: starting points, searched side by side, which form the group.
        step: step size in units of the value range (of 1 if that is unknown).
        smoothness: weight of the total variation; images only.
        size: weight of the mean square of the records around the middle of the range.
        statistics: weight of the batch norm statistics, where they are known.
        consistency: weight of the mean square distance to the group's mean record,
            where no class occurs twice.
        warm_up: iterations over which steps grow.
        halvings: see `Search`; dropped restarts leave the group.
    """

    name: ClassVar[str] = "gradinversion"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"labels", "value_range", "known", "batch_statistics"}
    )
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3
    size: float = 1e-6
    statistics: float = 0.1
    consistency: float = 1e-2
    warm_up: int = 10
    halvings: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._recipe()
        weights = (self.smoothness, self.size, self.statistics, self.consistency)
        if not all(weight >= 0 for weight in weights):
            raise ParameterError(
                "smoothness, size, statistics and consistency must not be negative."
            )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one step.

        Returns:
            All records of the step, uncertified; refused if no restart stayed finite
            or no labels can be had. `objective` is the weighted sum of all terms.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        return self.run_many([observation], seeds=[seed])[0]

    def run_many(
        self, observations: Sequence[Observation], *, seeds: Sequence[int]
    ) -> list[Reconstruction]:
        """Attack several observations; those of one model and size in one batch.

        Guarantee: as of `CosineTV.run_many`.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        return match(self._recipe(), observations, seeds)

    def _recipe(self) -> Recipe:
        return Recipe(
            name=self.name,
            needs=self.needs,
            uses=self.uses,
            restarts=self.restarts,
            settings=Search(
                iterations=self.iterations,
                step=self.step,
                halvings=self.halvings,
                sign=Sign.NONE,
                schedule=Schedule.COSINE,
                warm_up=self.warm_up,
            ),
            objective=self._objective,
            labels=distinct_labels,
        )

    def _objective(self, group: Group) -> Objective:
        seen = group.seen
        distance = squared_distances(
            group.replay, group.targets, group.labels, seen.known
        )
        low, high = seen.value_range or (0.0, 1.0)
        middle = (low + high) / 2 if seen.value_range else 0.0
        smooth = is_image(seen.input_shape) and self.smoothness > 0
        apart = group.labels.sum(dim=1).amax(dim=1) < 1.5  # (K,)
        statistics = _statistics_term(group) if self.statistics > 0 else None

        def objective(guesses: Tensor, carried: Tensor | None = None) -> Tensor:
            value = distance(guesses, carried)
            within = tuple(range(2, guesses.dim()))
            scaled = (guesses - middle) / (high - low)
            value = value + self.size * scaled.square().mean(dim=within)
            if smooth:
                rough = total_variation(scaled, batch_axes=2)
                value = value + self.smoothness * rough
            if statistics is not None:
                value = value + self.statistics * statistics(guesses)
            if self.consistency > 0 and guesses.shape[1] > 1:
                mean = scaled.detach().mean(dim=1, keepdim=True)
                pull = (scaled - mean).square().mean(dim=within)
                value = value + self.consistency * apart[:, None] * pull
            return value

        return objective


def distinct_labels(observation: Observation, seed: int) -> Tensor:
    """Return the classes whose rows of the last layer's gradient dip the lowest.

    Behind features that are not negative only the row of a class that occurs can be
    negative, so with as many such rows as records these are the labels for certain.
    With fewer, a class occurs twice, and `estimate_labels` counts instead.

    Returns:
        int64 (records,), rising.

    Raises:
        LabelsUnavailable: they have to be counted and cannot be.

    Source: arXiv 2104.07586, batch label restoration.
    """
    site = last_linear(observation.model, observation.input_shape, observation.classes)
    gradient = observation.gradient or {}
    records = observation.records or 1
    if site is not None and site.weight in gradient:
        lowest = gradient[site.weight].detach().double().cpu().amin(dim=1)
        if bool(lowest.isfinite().all()) and int((lowest < 0).sum()) >= records:
            return lowest.argsort()[:records].sort().values
    return estimate_labels(observation, seed=seed)


def _statistics_term(group: Group) -> Callable[[Tensor], Tensor] | None:
    """Return how far guesses' statistics are from those seen, (K, R); None if unseen.

    The observations of a group all hold statistics of the same layers, or none does.
    """
    all_seen = [one.batch_statistics for one in group.every]
    weight = next(iter(group.replay.weights.values()))
    stacked = []
    for seen in all_seen:
        if seen is None:
            return None
        pairs = seen.items()
        stacked.append(
            {name: (mean.to(weight), var.to(weight)) for name, (mean, var) in pairs}
        )

    def term(guesses: Tensor) -> Tensor:
        rows = []
        for seen, of_one_target in zip(stacked, guesses, strict=True):
            gaps = [
                statistics_gap(batch_statistics(group.replay, guess), seen)
                for guess in of_one_target
            ]
            rows.append(torch.stack(gaps))
        return torch.stack(rows)

    return term
