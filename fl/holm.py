"""Holm's step-down procedure, carried out with intervals instead of p-values.

With m tests, start at level ``1 - error / m``; whatever is found there stays found, and
the others are asked again at ``1 - error / (m - found so far)`` until nothing new turns
up. An interval that excludes the null at level 1 - a is a p-value below a, so this is
Holm's procedure (Scandinavian Journal of Statistics 1979, section 3): the probability
that anything is found where nothing is stays below `error`, whatever depends on what.

What holds together are the *findings*. The interval of a test that was not found is the
one of the last step, which is narrower than Bonferroni's: it is no simultaneous bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Answer = TypeVar("Answer")


def step_down(
    tests: Sequence[Callable[[float], Answer]],
    *,
    error: float,
    found: Callable[[Answer], bool],
) -> list[Answer]:
    """Return every test's answer at the step that settled it, in the given order.

    Args:
        tests: confidence -> answer; a test that finds at one confidence must find at
            every lower one (nested intervals do).
        error: family-wise probability of a false finding, in (0, 1).
        found: whether an answer is a finding.
    """
    settled: dict[int, Answer] = {}
    open_ = list(range(len(tests)))
    while open_:
        confidence = 1 - error / len(open_)
        answers = {i: tests[i](confidence) for i in open_}
        new = {i: answer for i, answer in answers.items() if found(answer)}
        if not new:
            settled |= answers
            break
        settled |= new
        open_ = [i for i in open_ if i not in new]
    return [settled[i] for i in range(len(tests))]
