"""The inverting-gradients attack with the settings that later work found stronger.

The objective of Geiping et al. (arXiv 2003.14053) as `cosine` has it, from another
start and by another descent: a repeated patch instead of noise (Wei et al., arXiv
2004.10397), slopes bounded softly instead of signs, steps along a cosine after a
warm-up, and a total variation that also smooths the differences of colours. This is the
combination that the breaching toolkit ships as `modern`; its numbers there are a patch
of 4 x 4, steps of 0.1, a warm-up of 50 of 24 000 iterations and a weight of 0.1. Its
regulariser of features is not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from attacks.errors import ParameterError
from attacks.inversion.attack import Reconstruction
from attacks.inversion.cosine import cosine_objective
from attacks.inversion.matching import Recipe, match
from attacks.inversion.prior import opponent_variation, tile_guesses
from attacks.inversion.search import Schedule, Search, Sign
from attacks.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Modern:
    """Match gradient directions from a patterned start, by Adam on softened slopes.

    Guarantee: deterministic for a seed; a positive factor on the gradient changes
    nothing.

    Args:
        iterations: steps per restart.
        restarts: starting points, searched side by side; see `Search.halvings`.
        step: step size in units of the value range (of 1 if that is unknown).
        smoothness: weight of the total variation; images only.
        patch: pixels along each side of the repeated patch.
        warm_up: iterations over which steps grow.
        halvings: see `Search`.
    """

    name: ClassVar[str] = "modern"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset({"labels", "value_range", "known"})
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3
    patch: int = 4
    warm_up: int = 10
    halvings: tuple[float, ...] = (0.05, 0.1, 0.2)

    def __post_init__(self) -> None:
        self._recipe()
        if not self.smoothness >= 0:
            raise ParameterError("smoothness must not be negative.")
        if self.patch < 1:
            raise ParameterError(f"patch={self.patch} must be at least 1.")

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
                sign=Sign.SOFT,
                schedule=Schedule.COSINE,
                warm_up=self.warm_up,
            ),
            objective=lambda group: cosine_objective(
                group, self.smoothness, opponent_variation
            ),
            start=partial(tile_guesses, size=self.patch),
        )
