"""Score the records by what was given, without looking at their membership.

One score an attack; higher says "member". Membership enters only where the findings are
judged (`fl.verdict`). An adversary whose view was not given gets a row all the same: it
says that nobody looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from attacks import Adversary, logit_scaled_confidence, loss_threshold
from fl.finding import Finding, Group, Measure, Missing, Ranking
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
    """Return the score of every attack that is possible, the strongest kind first.

    The order is fixed by what was given, never by what a score achieves, so that the
    first of them may be used where only one may be.
    """
    found: dict[str, Floats] = {}
    if asked.score is not None:
        found[GIVEN] = asked.score
    if asked.logits is not None:
        log_p = _log_probabilities(asked.logits)
        if asked.labels is not None:
            phi = logit_scaled_confidence(asked.logits, asked.labels)
            found[LOSS] = loss_threshold(np.logaddexp(0.0, -phi))
            found[SURE] = -modified_entropy(phi, log_p, asked.labels)
        found[ENTROPY] = np.asarray((np.exp(log_p) * log_p).sum(axis=1))
    if LOSS not in found and asked.losses is not None:
        found[LOSS] = loss_threshold(asked.losses)
    return found


def findings(
    found: Mapping[str, Floats], members: NDArray[np.bool_], seconds: float
) -> list[Finding]:
    """Return one finding an attack, and one for each view that nobody gave."""
    rows = [
        _finding(
            Adversary.OUTSIDER,
            RELEASED,
            name,
            _rankings(score, members, with_rates=place == 0),
            seconds / len(found),
        )
        for place, (name, score) in enumerate(found.items())
    ]
    return rows


def not_given() -> list[Finding]:
    """Return the rows of adversaries who see more than the model."""
    why = {
        (Adversary.CLIENT, ROUNDS): "the models of single rounds were not given.",
        (Adversary.SERVER, UPDATE): "no client's update was given; see --update.",
        (Adversary.SERVER, SUM): "no sum of updates was given; see --update.",
    }
    return [
        _finding(who, view, LOSS, (Missing(metric="AUC", why=reason),), 0.0)
        for (who, view), reason in why.items()
    ]


def modified_entropy(phi: Floats, log_p: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the entropy that knows which class is right, (N,); low says "member".

    `-(1 - p_y) log p_y - sum over other classes of p_c log(1 - p_c)`.

    Args:
        phi: (N,) logit-scaled confidence, which keeps the digits of `1 - p_y`.
        log_p: (N, classes) logarithms of probabilities.
        labels: (N,).

    Source: Song and Mittal, "Systematic evaluation of privacy risks of machine learning
    models", USENIX Security 2021, section 4.
    """
    own = expit(-phi) * np.logaddexp(0.0, -phi)
    p = np.exp(log_p)
    p[np.arange(len(p)), labels] = 0.0
    # Another class that takes all but nothing would have log(1 - p) = -inf.
    others = p * np.log1p(-np.minimum(p, 1 - 1e-15))
    return np.asarray(own - others.sum(axis=1))


def _log_probabilities(logits: Floats) -> Floats:
    return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True))


def _rankings(
    score: Floats, members: NDArray[np.bool_], *, with_rates: bool
) -> tuple[Measure, ...]:
    ids = np.arange(len(score), dtype=np.int64)
    groups = (Group(scores=score, members=members, records=ids),)
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
