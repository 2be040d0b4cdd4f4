"""One loop that improves many guesses side by side, and keeps the best of each target.

Adam on the sign of the slope, in a box, with steps that shrink (Geiping et al., arXiv
2003.14053, section 5); the sign may be soft or left out, and the steps may follow a
cosine after a warm-up (Loshchilov and Hutter, arXiv 1608.03983). Guesses are dropped
early where several search for the same records: after a small part of the iterations
the worse half rarely catches up (successive halving; Jamieson and Talwalkar, arXiv
1502.07943). Which guess is better is decided by the
objective alone, which the attacker sees; nothing here knows the truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.prior import boxed

_DECAYS_AT = (3 / 8, 5 / 8, 7 / 8)  # Geiping et al., section 5: steps of 1/10
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam, arXiv 1412.6980


class Sign(StrEnum):
    """What Adam is given of a slope.

    HARD: its sign. SOFT: tanh(f slope) / f with f falling from 1 to 0 over the search,
    which bounds large slopes at first and none at the end. NONE: the slope.
    """

    HARD = "hard"
    SOFT = "soft"
    NONE = "none"


class Schedule(StrEnum):
    """How steps shrink: to a tenth three times, or along half a cosine to zero."""

    STEPS = "steps"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How to search.

    Args:
        iterations: steps, >= 1.
        step: size of the first ones, in units of the value range, > 0.
        halvings: parts of the iterations, in rising order, after which the worse half
            of the guesses at each target is dropped; the last one is never.
        sign: what of a slope counts.
        schedule: how steps shrink.
        warm_up: iterations over which steps grow from near zero to their size, >= 0.
    """

    iterations: int
    step: float
    halvings: tuple[float, ...] = (0.05, 0.1, 0.2)
    sign: Sign = Sign.HARD
    schedule: Schedule = Schedule.STEPS
    warm_up: int = 0

    def __post_init__(self) -> None:
        if self.warm_up < 0:
            raise ParameterError(f"warm_up={self.warm_up} must not be negative.")
        if self.iterations < 1:
            raise ParameterError(f"iterations={self.iterations} must be at least 1.")
        if not self.step > 0:
            raise ParameterError(f"step={self.step} must be positive.")
        rising = list(self.halvings) == sorted(set(self.halvings))
        if not rising or not all(0 < part < 1 for part in self.halvings):
            raise ParameterError(
                f"halvings={self.halvings} must rise, and lie between 0 and 1."
            )

    def rate(self, iteration: int) -> float:
        """Return the size of a step, in units of the value range."""
        warm = min(1.0, (iteration + 1) / (self.warm_up + 1))
        if self.schedule is Schedule.COSINE:
            turned = math.pi * iteration / self.iterations
            return self.step * warm * (1 + math.cos(turned)) / 2
        passed = sum(iteration >= int(part * self.iterations) for part in _DECAYS_AT)
        return self.step * warm * 10.0**-passed

    def towards(self, slope: Tensor, iteration: int) -> Tensor:
        """Return what Adam is given of a slope; what is not a number counts as zero."""
        slope = slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if self.sign is Sign.HARD:
            return slope.sign()
        if self.sign is Sign.SOFT:
            falling = 1 - iteration / self.iterations
            return (slope * falling).tanh() / falling
        return slope


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The best guess at each target.

    Attributes:
        inputs: (K, B, *shape).
        objective: (K,), at those very inputs; infinity where none was finite.
    """

    inputs: Tensor
    objective: Tensor


def search(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    value_range: tuple[float, float] | None,
    settings: Search,
    *,
    loose: int = 0,
    judge: Callable[[Tensor], Tensor] | None = None,
) -> Found:
    """Improve guesses, and return the best one at each target.

    Guarantee: targets do not influence one another; a guess whose objective is not
    finite is never returned before one whose objective is.

    Args:
        objective: from (K, R, B, *shape) to (K, R), differentiable; R may shrink.
        start: the first guesses.
        value_range: box that they stay in, or None.
        settings: how to search.
        loose: so many entries at the end of the last axis are no values of records:
            the box does not hold them, and they step in units of one.
        judge: what decides which guess is better, as `objective` but without slope, if
            the objective differs from one iteration to the next; None for itself.
    """
    low, high = value_range or (0.0, 1.0)
    unit = torch.full_like(start[0, 0, 0], high - low)
    unit[..., unit.shape[-1] - loose :] = 1.0
    guesses = start.detach().clone().requires_grad_(True)
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    best = start.detach().clone()
    lowest = best.new_full(start.shape[:2], math.inf)
    drops = {int(part * settings.iterations) for part in settings.halvings} - {0}
    for iteration in range(settings.iterations + 1):
        value = objective(guesses)
        reached = value.detach() if judge is None else judge(guesses.detach()).detach()
        better = reached < lowest  # false for nan, which is thus skipped
        lowest = torch.where(better, reached, lowest)
        best = torch.where(_over(better, best), guesses.detach(), best)
        if iteration == settings.iterations:
            break
        (slope,) = torch.autograd.grad(value.sum(), guesses)
        if iteration in drops and lowest.shape[1] > 1:
            kept = _better_half(lowest)
            lowest = lowest.gather(1, kept)
            best, first, second, slope, moved = (
                _chosen(each, kept)
                for each in (best, first, second, slope, guesses.detach())
            )
        else:
            moved = guesses.detach()
        towards = settings.towards(slope, iteration)
        first = _BETAS[0] * first + (1 - _BETAS[0]) * towards
        second = _BETAS[1] * second + (1 - _BETAS[1]) * towards.square()
        scale = (second / (1 - _BETAS[1] ** (iteration + 1))).sqrt() + _EPSILON
        rate = settings.rate(iteration) / (1 - _BETAS[0] ** (iteration + 1))
        moved = moved - rate * unit * first / scale
        held = moved.shape[-1] - loose
        inside = boxed(moved[..., :held], value_range)
        guesses = torch.cat((inside, moved[..., held:]), dim=-1).requires_grad_(True)
    winner = lowest.argmin(dim=1, keepdim=True)
    return Found(_chosen(best, winner)[:, 0], lowest.gather(1, winner)[:, 0])


def _better_half(lowest: Tensor) -> Tensor:
    """Return which guesses at each target stay, in their old order."""
    stay = -(-lowest.shape[1] // 2)
    return lowest.argsort(dim=1, stable=True)[:, :stay].sort(dim=1).values


def _chosen(values: Tensor, places: Tensor) -> Tensor:
    """Return the guesses at these places, (K, R') of (K, R, ...)."""
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def _over(flags: Tensor, values: Tensor) -> Tensor:
    return flags.reshape(*flags.shape, *[1] * (values.dim() - flags.dim()))
