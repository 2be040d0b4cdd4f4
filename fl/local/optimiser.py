"""How a step follows from a gradient: SGD, momentum, Adam; one model or a stack.

As torch.optim computes them, but on parameters with a leading axis of clients, each of
which has a state of its own that starts from zero and is not kept after the round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from fl.local.slopes import Slope

OPTIMIZERS = ("sgd", "adam")
# Adam's usual constants (Kingma and Ba, ICLR 2015, algorithm 1).
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An optimiser and its numbers.

    Attributes:
        optimizer: "sgd", or "adam".
        learning_rate: > 0.
        momentum: in [0, 1), of SGD (v = momentum v + g, w = w - lr v).
        weight_decay: >= 0; this times the parameters is added to every gradient.
    """

    learning_rate: float
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0


class Term(Protocol):
    """What is added to the gradients of every step beside the loss's own."""

    def __call__(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Change the gradients of the clients that still move, in place."""


class Optimiser(Protocol):
    """Moves the parameters of the clients that still move: a prefix of the stack."""

    def step(self, parameters: Sequence[Tensor], slopes: Sequence[Slope]) -> None:
        """Take one step, in place."""


def optimiser_for(
    rule: Rule, stack: Sequence[Tensor], terms: Sequence[Term]
) -> Optimiser:
    """Return a fresh optimiser for a stack of parameters.

    Args:
        rule: which, and its numbers.
        stack: what will be moved; says shapes and device.
        terms: added to each gradient, in this order, before the weight decay.
    """
    if rule.optimizer == "adam":
        return _Adam(rule, stack, terms)
    if rule.momentum or rule.weight_decay or terms:
        return _Sgd(rule, stack, terms)
    return _Plain(rule.learning_rate)


@dataclass(frozen=True, slots=True)
class _Plain:
    """w = w - lr g, where the gradient need not be made."""

    learning_rate: float

    def step(self, parameters: Sequence[Tensor], slopes: Sequence[Slope]) -> None:
        for parameter, slope in zip(parameters, slopes, strict=True):
            slope.descend(parameter, self.learning_rate)


class _Sgd:
    def __init__(
        self, rule: Rule, stack: Sequence[Tensor], terms: Sequence[Term]
    ) -> None:
        self._rule, self._terms = rule, terms
        moving = rule.momentum > 0
        self._velocity = [torch.zeros_like(one) for one in stack] if moving else []

    def step(self, parameters: Sequence[Tensor], slopes: Sequence[Slope]) -> None:
        moves = _gradients(parameters, slopes, self._rule, self._terms)
        if self._velocity:
            count = len(parameters[0])
            for at, (speed, move) in enumerate(zip(self._velocity, moves, strict=True)):
                moves[at] = speed[:count].mul_(self._rule.momentum).add_(move)
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.sub_(move, alpha=self._rule.learning_rate)


class _Adam:
    def __init__(
        self, rule: Rule, stack: Sequence[Tensor], terms: Sequence[Term]
    ) -> None:
        self._rule, self._terms = rule, terms
        self._mean = [torch.zeros_like(one) for one in stack]
        self._square = [torch.zeros_like(one) for one in stack]
        self._steps = 0

    def step(self, parameters: Sequence[Tensor], slopes: Sequence[Slope]) -> None:
        # Who moves has moved from the first step on, so all have the same count.
        self._steps += 1
        left, right = 1 - BETA1**self._steps, 1 - BETA2**self._steps
        found = _gradients(parameters, slopes, self._rule, self._terms)
        count = len(parameters[0])
        for parameter, gradient, mean, square in zip(
            parameters, found, self._mean, self._square, strict=True
        ):
            first = mean[:count].lerp_(gradient, 1 - BETA1)
            second = square[:count].mul_(BETA2)
            second.addcmul_(gradient, gradient, value=1 - BETA2)
            below = (second / right).sqrt_().add_(EPSILON)
            parameter.addcdiv_(first, below, value=-self._rule.learning_rate / left)


def _gradients(
    parameters: Sequence[Tensor],
    slopes: Sequence[Slope],
    rule: Rule,
    terms: Sequence[Term],
) -> list[Tensor]:
    found = [slope.dense() for slope in slopes]
    for term in terms:
        term(parameters, found)
    if rule.weight_decay:
        for gradient, parameter in zip(found, parameters, strict=True):
            gradient.add_(parameter, alpha=rule.weight_decay)
    return found
