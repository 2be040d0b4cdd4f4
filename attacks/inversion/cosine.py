"""Inverting gradients: match their direction, in a box, with smooth images.

Geiping et al., NeurIPS 2020, arXiv 2003.14053: cosine distance and total variation,
Adam on the sign of the slope. One step is replayed: updates of several local steps are
matched as if they were one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.attack import Reconstruction
from attacks.inversion.distance import cosine_distance
from attacks.inversion.matching import Group, Objective, Recipe, match
from attacks.inversion.prior import is_image, total_variation
from attacks.inversion.search import Search
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
        self._recipe()
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
        return match(self._recipe(), observations, seeds)

    def _recipe(self) -> Recipe:
        return Recipe(
            name=self.name,
            needs=self.needs,
            uses=self.uses,
            restarts=self.restarts,
            settings=Search(
                iterations=self.iterations, step=self.step, halvings=self.halvings
            ),
            objective=lambda group: cosine_objective(
                group, self.smoothness, total_variation
            ),
        )


def cosine_objective(
    group: Group, smoothness: float, variation: Callable[..., Tensor]
) -> Objective:
    """Return the cosine distance plus `smoothness` times the variation of images.

    Args:
        group: whom to match.
        smoothness: weight, >= 0.
        variation: of images, as `total_variation`; counted in units of the value range.
    """
    seen = group.seen
    distance = cosine_distance(
        group.replay, group.targets, group.labels, seen.input_shape, seen.known
    )
    low, high = seen.value_range or (0.0, 1.0)
    smooth = is_image(seen.input_shape) and smoothness > 0

    def objective(guesses: Tensor, carried: Tensor | None = None) -> Tensor:
        value = distance(guesses, None if carried is None else carried.softmax(dim=-1))
        if smooth:
            rough = variation(guesses / (high - low), batch_axes=2)
            value = value + smoothness * rough
        return value

    return objective
