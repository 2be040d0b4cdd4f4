"""Inverting gradients: match their direction, in a box, with smooth images.

Geiping et al., NeurIPS 2020, arXiv 2003.14053: cosine distance and total variation,
Adam on the sign of the slope. Labels that are not known are estimated, or optimised
together with the records as DLG does. One step is replayed: updates of several local
steps are matched as if they were one (`localsteps` repeats them).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.attack import Reconstruction
from attacks.inversion.distance import Distance, cosine_distance
from attacks.inversion.matching import (
    Group,
    Objective,
    Recipe,
    counted_labels,
    match,
)
from attacks.inversion.prior import is_image, total_variation
from attacks.inversion.search import Search
from attacks.inversion.subsets import Part
from attacks.observation import Observation


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
        joint_labels: optimise unknown labels (as logits, from a normal start) instead
            of estimating them first.
        part: how much of the gradient counts at each iteration; None for all.
    """

    name: ClassVar[str] = "cosine+TV"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset({"labels", "value_range", "known"})
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3
    halvings: tuple[float, ...] = (0.05, 0.1, 0.2)
    joint_labels: bool = False
    part: Part | None = None

    def __post_init__(self) -> None:
        self._recipe(joint=False)
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
        joint = [self.joint_labels and one.labels is None for one in observations]
        answers: dict[int, Reconstruction] = {}
        for kind in sorted(set(joint)):
            places = [place for place, own in enumerate(joint) if own is kind]
            found = match(
                self._recipe(joint=kind),
                [observations[place] for place in places],
                [seeds[place] for place in places],
            )
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(observations))]

    def _recipe(self, *, joint: bool) -> Recipe:
        def whole(group: Group) -> Objective:
            return cosine_objective(group, self.smoothness, total_variation)

        def in_part(group: Group) -> Objective:
            return cosine_objective(
                group, self.smoothness, total_variation, part=self.part
            )

        return Recipe(
            name=self.name,
            needs=self.needs,
            uses=self.uses,
            restarts=self.restarts,
            settings=Search(
                iterations=self.iterations, step=self.step, halvings=self.halvings
            ),
            objective=in_part,
            judge=None if self.part is None else whole,
            labels=_no_labels if joint else counted_labels,
            carry=_drawn_logits if joint else None,
        )


def cosine_objective(
    group: Group,
    smoothness: float,
    variation: Callable[..., Tensor],
    *,
    part: Part | None = None,
) -> Objective:
    """Return the cosine distance plus `smoothness` times the variation of images.

    Args:
        group: whom to match.
        smoothness: weight, >= 0.
        variation: of images, as `total_variation`; counted in units of the value range.
        part: how much of the gradient counts at each call; None for all.
    """
    seen = group.seen
    if part is None:
        distance = cosine_distance(
            group.replay, group.targets, group.labels, seen.input_shape, seen.known
        )
    else:
        distance = _changing_distance(group, part)
    low, high = seen.value_range or (0.0, 1.0)
    smooth = is_image(seen.input_shape) and smoothness > 0

    def objective(guesses: Tensor, carried: Tensor | None = None) -> Tensor:
        value = distance(guesses, None if carried is None else carried.softmax(dim=-1))
        if smooth:
            rough = variation(guesses / (high - low), batch_axes=2)
            value = value + smoothness * rough
        return value

    return objective


def _changing_distance(group: Group, part: Part) -> Distance:
    """Return the cosine distance over another part of the gradient at each call."""
    masks = part.masks(group.replay.weights, group.seen.known)

    def distance(guesses: Tensor, labels: Tensor | None = None) -> Tensor:
        mask = next(masks)
        targets = {name: g * mask[name] for name, g in group.targets.items()}
        now = cosine_distance(
            group.replay, targets, group.labels, group.seen.input_shape, mask
        )
        return now(guesses, labels)

    return distance


def _no_labels(seen: Observation, seed: int) -> Tensor:
    """Stand in for labels that the guesses carry."""
    return torch.zeros(seen.records or 1, dtype=torch.int64)


def _drawn_logits(
    seen: Observation, labels: Tensor, restarts: int, generator: torch.Generator
) -> Tensor:
    return torch.randn((restarts, len(labels), seen.classes), generator=generator)
