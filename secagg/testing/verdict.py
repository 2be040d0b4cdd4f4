"""What a round that was played came to: a sum, a clean abort, or one of four failures.

This module plays nothing and prints nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from secagg.errors import AbortError
from secagg.invite import Step
from secagg.testing.invariants import find_leak, survivors_asked_for
from secagg.testing.rounds import LENGTH, Play
from secagg.testing.schedule import Kind


class End(StrEnum):
    """How a round ended; the last four must never happen."""

    SUM = "sum"
    ABORT = "abort"
    WRONG_SUM = "wrong sum"
    LEAK = "leak"
    CRASH = "crash"
    HANG = "hang"


FAILURES = (End.WRONG_SUM, End.LEAK, End.CRASH, End.HANG)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a round ended, and why it is judged so."""

    end: End
    reason: str = ""


def judge(played: Play) -> Verdict:
    """Say how a round ended; of several failures, the worst.

    Raises:
        ParameterError: The plan is too large for the search of leaks (caller).
    """
    leak = find_leak(played)
    if leak:
        return Verdict(End.LEAK, leak)
    if not played.ended:
        return Verdict(End.HANG, f"the round did not end in {played.events} events.")
    if isinstance(played.error, AbortError):
        return _judge_abort(played, played.error)
    if played.outcome is None:
        error = played.error
        return Verdict(End.CRASH, f"{type(error).__name__} was raised: {error}")
    wrong = _wrong(played)
    return Verdict(End.WRONG_SUM, wrong) if wrong else Verdict(End.SUM)


def _judge_abort(played: Play, error: AbortError) -> Verdict:
    """Accept an abort that says where it happened, what it needed and what it had.

    Bits flipped on the way may turn up as words that are no sum, or as shares that give
    nothing back.  Then there is nothing to count, and only the step is asked for.
    """
    need, have = error.need, error.have
    short = need is not None and have is not None and have < need
    flipped = any(mishap.kind is Kind.FLIPPED for _, _, mishap in played.fired)
    if error.step in set(Step) and (short or (flipped and need is None)):
        return Verdict(End.ABORT, str(error))
    return Verdict(
        End.CRASH,
        f"{type(error).__name__} without a step, or without what it needs and has: "
        f"{error}",
    )


def _wrong(played: Play) -> str:
    """Compare the sum with the one over u3, in fractions; return what is wrong."""
    out, roster = played.outcome, played.invite.roster
    if out is None:
        return "there is no sum."
    u3 = survivors_asked_for(played)
    if out.survivors != {roster[i] for i in u3}:
        return "the survivors are not those that the clients were asked about."
    if len(u3) < played.plan.threshold:
        return f"the sum holds {len(u3)} inputs only."
    weight = sum(played.inputs[i].weight for i in u3)
    if out.weight != weight:
        return f"the weight is {out.weight}, that of the survivors {weight}."
    for at in range(LENGTH):
        exact = Fraction()
        for i in u3:
            given = played.inputs[i]
            exact += given.weight * Fraction(float(given.vector[at]))
        gap = abs(Fraction(float(out.mean[at])) - exact / weight)
        if gap > Fraction(out.max_error):
            return f"value {at} of the mean is off by more than {out.max_error}."
    return ""
