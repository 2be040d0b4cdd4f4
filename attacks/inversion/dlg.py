"""DLG: search for records and labels whose gradient is the observed one.

Zhu et al., NeurIPS 2019, arXiv 1906.08935: squared distance, L-BFGS, the labels
optimised together with the records; with known labels it is iDLG's second half. Among
restarts its own objective chooses; a failed search comes back as refused. Nothing here
is ever certified. One step is replayed.
"""

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.errors import ParameterError
from attacks.inversion.answers import DID_NOT_FINISH, NOT_FINITE, candidates
from attacks.inversion.attack import Reconstruction, refused
from attacks.inversion.distance import as_target, is_matchable, squared_distance
from attacks.inversion.prior import draw_guesses
from attacks.inversion.replay import Replay, replay_of
from attacks.observation import Observation, require


@dataclass(frozen=True, slots=True, kw_only=True)
class DLG:
    """Match gradients by L-BFGS, the labels together with the inputs.

    Guarantee: deterministic for a seed; the labels returned are the optimised ones.

    Args:
        iterations: L-BFGS iterations per restart.
        restarts: independent starting points.
    """

    name: ClassVar[str] = "DLG"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset({"labels", "value_range", "known"})
    iterations: int = 100
    restarts: int = 2

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.restarts < 1:
            raise ParameterError(
                f"iterations={self.iterations} and restarts={self.restarts} must be at "
                "least 1."
            )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one step.

        Returns:
            All records of the step, uncertified; refused if no restart stayed finite.
            `objective` is ||g' - g||^2 / ||g||^2.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        target = as_target(seen)
        if not is_matchable(target):
            return refused(seen, NOT_FINITE, time.perf_counter() - start)
        replay = replay_of(seen.model, target)
        generator = torch.Generator().manual_seed(seed)
        best: tuple[Tensor, Tensor] | None = None
        lowest = math.inf
        for _ in range(self.restarts):
            inputs, soft, objective = self._search(seen, replay, target, generator)
            if objective < lowest:
                best, lowest = (inputs, soft.argmax(dim=1)), objective
        if best is None:
            return refused(seen, DID_NOT_FINISH, time.perf_counter() - start)
        return candidates(seen, *best, lowest, time.perf_counter() - start)

    def _search(
        self,
        seen: Observation,
        replay: Replay,
        target: dict[str, Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, float]:
        anchor = next(seen.model.parameters())
        count = seen.records or 1
        inputs = draw_guesses(count, seen.input_shape, seen.value_range, generator)
        inputs = inputs.to(anchor.device, anchor.dtype).requires_grad_(True)
        mix = torch.randn((count, seen.classes), generator=generator)
        mix = mix.to(anchor.device, anchor.dtype).requires_grad_(True)
        free = [inputs, mix]
        if seen.labels is not None:
            # A known label needs no search: then DLG is iDLG.
            known = functional.one_hot(seen.labels.to(anchor.device), seen.classes)
            free = [inputs]

        def soft_labels() -> Tensor:
            return known.to(anchor.dtype) if len(free) == 1 else mix.softmax(dim=1)

        best = (inputs.detach().clone(), soft_labels().detach(), math.inf)

        def closure() -> Tensor:
            nonlocal best
            value = squared_distance(replay, target, inputs, soft_labels(), seen.known)
            # Scored where it was computed, so candidate and objective belong together.
            reached = float(value.detach())
            if reached < best[2]:
                best = (
                    inputs.detach().clone(),
                    soft_labels().detach().clone(),
                    reached,
                )
            for leaf, grad in zip(free, torch.autograd.grad(value, free), strict=True):
                leaf.grad = grad
            return value.detach()

        solver = torch.optim.LBFGS(
            free,
            max_iter=self.iterations,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=100,
            line_search_fn="strong_wolfe",
        )
        solver.step(closure)  # type: ignore[no-untyped-call]
        return best
