"""Score the records by what was given, without looking at their membership.

One score an attack; higher says "member". Membership enters only where the findings are
judged (`fl.verdict`). An adversary whose view was not given gets a row all the same: it
says that nobody looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks import Adversary, loss_threshold
from attacks.membership import (
    log_confidence,
    negative_entropy,
    negative_modified_entropy,
)
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.membership.persons import of_persons
from fl.shots import AS_CONFIGURED

Floats = NDArray[np.float64]

MODEL = "this model"
RELEASED, ROUNDS, UPDATE, SUM = (
    "released model",
    "each round's model",
    "one client's update",
    "sum of the cohort",
)
GIVEN, LOSS, ENTROPY, SURE = (
    "given score",
    "loss threshold",
    "entropy",
    "modified entropy",
)
RATES = (0.1, 0.01, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the model, or a file of scores, says of each record; None where not known.

    Attributes:
        members: (N,) bool, the truth; no attack gets it.
        logits: (N, classes), logits or logarithms of probabilities.
        labels: (N,) the column of each record's label.
        losses: (N,), where they were given without answers.
        score: (N,), computed by somebody else; higher says "member".
    """

    members: NDArray[np.bool_]
    logits: Floats | None = None
    labels: NDArray[np.int64] | None = None
    losses: Floats | None = None
    score: Floats | None = None

    @property
    def right(self) -> NDArray[np.bool_] | None:
        """Return which records the model gets right, (N,) bool."""
        if self.logits is None or self.labels is None:
            return None
        return np.asarray(self.logits.argmax(axis=1) == self.labels)


def scores(asked: Asked) -> dict[str, Floats]:
    """Return the score of every attack that the answers alone allow."""
    found: dict[str, Floats] = {}
    if asked.score is not None:
        found[GIVEN] = asked.score
    if asked.logits is not None:
        if asked.labels is not None:
            found[LOSS] = log_confidence(asked.logits, asked.labels)
            found[SURE] = negative_modified_entropy(asked.logits, asked.labels)
        found[ENTROPY] = negative_entropy(asked.logits)
    if LOSS not in found and asked.losses is not None:
        found[LOSS] = loss_threshold(asked.losses)
    return found


def findings(
    found: Mapping[str, Floats | str],
    first: str,
    members: NDArray[np.bool_],
    seconds: float,
    persons: NDArray[np.int64] | None = None,
) -> list[Finding]:
    """Return one finding an attack on the released model.

    Args:
        found: scores by attack, or why there are none.
        first: the attack whose rates are reported beside its AUC.
        members: the truth.
        seconds: spent on all of them.
        persons: (N,) whose each record is; who then are asked of, too.
    """
    rows = [
        _finding(
            Adversary.OUTSIDER,
            RELEASED,
            name,
            (Missing(metric="AUC", why=score),)
            if isinstance(score, str)
            else _rankings(score, members, persons, with_rates=name == first),
            seconds / len(found),
        )
        for name, score in found.items()
    ]
    return rows + of_persons(rows)


def not_given(*, update: bool) -> list[Finding]:
    """Return the rows of adversaries whose view nobody gave."""
    why = {(Adversary.CLIENT, ROUNDS): "the models of single rounds were not given."}
    if not update:
        why |= {
            (Adversary.SERVER, UPDATE): "no client's update was given; see --update.",
            (Adversary.SERVER, SUM): "no sum of updates was given; see --update.",
        }
    return [
        _finding(who, view, LOSS, (Missing(metric="AUC", why=reason),), 0.0)
        for (who, view), reason in why.items()
    ]


def first_of(found: Mapping[str, Floats | str], order: Sequence[str]) -> str:
    """Return the first attack of an order fixed beforehand that could be run."""
    able = [name for name, score in found.items() if not isinstance(score, str)]
    return next(name for name in (*order, *able) if name in able)


def _rankings(
    score: Floats,
    members: NDArray[np.bool_],
    persons: NDArray[np.int64] | None,
    *,
    with_rates: bool,
) -> tuple[Measure, ...]:
    ids = np.arange(len(score), dtype=np.int64)
    groups = (Group(scores=score, members=members, records=ids, persons=persons),)
    rates = RATES if with_rates else ()
    return (Ranking(groups=groups), *(Ranking(groups=groups, fpr=r) for r in rates))


def _finding(
    who: Adversary,
    view: str,
    attack: str,
    measures: tuple[Measure, ...],
    seconds: float,
) -> Finding:
    return Finding(
        protection=MODEL,
        adversary=who,
        view=view,
        scenario=AS_CONFIGURED,
        attack=attack,
        measures=measures,
        seeds=(),
        seconds=seconds,
    )
