"""The membership attacks on one model, by name; a new one is one entry here.

Each takes what it declares and returns one score per record, higher for members. Scores
of an attack are comparable between targets, so that they may be pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from attacks.membership.bavaria import bavaria
from attacks.membership.calibrated import calibrated
from attacks.membership.known import (
    Answers,
    Known,
    Needs,
    ShadowAnswers,
    Shadowing,
    Singles,
    given,
)
from attacks.membership.labelonly import label_only
from attacks.membership.lira import Variance, lira, lira_offline
from attacks.membership.quantile import quantile_regression
from attacks.membership.rmia import log_ratio, offline_log_ratio, ranked, tune_a
from attacks.membership.shadow_classifier import shadow_classifier
from attacks.membership.signals import (
    Floats,
    log_confidence,
    negative_entropy,
    negative_modified_entropy,
)
from attacks.membership.thresholds import above_threshold, class_thresholds
from attacks.membership.trajectory import mean_over_rounds

_BOTH = Needs(shadows=Shadowing.BOTH)
_OUT = Needs(shadows=Shadowing.OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipAttack:
    """One attack.

    Attributes:
        title: as on the page.
        needs: the least that it works with.
        rule: scores all records from what it was handed.
    """

    title: str
    needs: Needs
    rule: Callable[[Known], Floats]

    def scores(self, known: Known) -> Floats:
        """Score every record, seeing no more of ``known`` than was declared.

        Returns:
            float64 (N,), higher for members; None of it depends on who they are.

        Raises:
            MissingKnowledge: something declared is not there.
            TooFewShadows: fewer shadows than the attack works with.
            ParameterError: arrays do not fit.
        """
        return self.rule(known.only(self.needs))


def _loss(known: Known) -> Floats:
    return known.log_p


def _confidence(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    return _by_class(known, known.log_p, shadows.log_p)


def _entropy(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    own = negative_entropy(given(known.logits, "logits"))
    return _by_class(known, own, shadows.entropy)


def _modified_entropy(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    own = negative_modified_entropy(given(known.logits, "logits"), known.labels)
    return _by_class(known, own, shadows.modified_entropy)


def _by_class(known: Known, own: Floats, shadow_signal: Singles) -> Floats:
    shadows = given(known.shadows, "shadows")
    classes = shadows.logits.shape[2]
    thresholds = class_thresholds(shadow_signal, shadows.members, known.labels, classes)
    return above_threshold(own, known.labels, thresholds)


def _calibrated(known: Known) -> Floats:
    shadows = given(known.without, "shadows without the record")
    return calibrated(known.log_p, shadows.log_p, shadows.members)


def _classifier(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    return shadow_classifier(
        given(known.logits, "logits"),
        known.labels,
        shadows.logits,
        shadows.members,
        seed=known.seed,
    )


def _lira(known: Known, variance: Variance) -> Floats:
    shadows = given(known.shadows, "shadows")
    return lira(known.phi, shadows.phi, shadows.members, variance=variance)


def _lira_offline(known: Known) -> Floats:
    shadows = given(known.without, "shadows without the record")
    return lira_offline(known.phi, shadows.phi, shadows.members)


def _bavaria(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    return bavaria(known.phi, shadows.phi, shadows.members)


def _base(known: Known) -> Floats:
    shadows = given(known.shadows, "shadows")
    return log_ratio(known.log_p, shadows.log_p, shadows.members)


def _rmia(known: Known) -> Floats:
    return ranked(_base(known), given(known.population, "population"))


def _rmia_offline(known: Known) -> Floats:
    shadows = given(known.without, "shadows without the record")
    log_r = offline_log_ratio(
        known.log_p, shadows.log_p, shadows.members, a=given(known.prior, "prior")
    )
    return ranked(log_r, given(known.population, "population"))


def _quantile(known: Known) -> Floats:
    return quantile_regression(
        given(known.features, "features"),
        known.labels,
        known.phi,
        given(known.population, "population"),
        seed=known.seed,
    )


def _label_only(known: Known) -> Floats:
    return label_only(given(known.copies, "copies"), known.labels)


def _trajectory(known: Known) -> Floats:
    rounds = given(known.rounds, "rounds")
    return mean_over_rounds(
        np.stack([log_confidence(one, known.labels) for one in rounds])
    )


ATTACKS: Mapping[str, MembershipAttack] = {
    "loss": MembershipAttack(title="loss threshold", needs=Needs(), rule=_loss),
    "confidence": MembershipAttack(
        title="confidence by class", needs=_BOTH, rule=_confidence
    ),
    "entropy": MembershipAttack(title="entropy by class", needs=_BOTH, rule=_entropy),
    "modified-entropy": MembershipAttack(
        title="modified entropy by class", needs=_BOTH, rule=_modified_entropy
    ),
    "calibrated": MembershipAttack(
        title="calibrated loss", needs=_OUT, rule=_calibrated
    ),
    "shadow-classifier": MembershipAttack(
        title="shadow classifier", needs=_BOTH, rule=_classifier
    ),
    # Which variance by default: `python -m benchmarks membership`, docs/attacks.md.
    "lira": MembershipAttack(
        title="LiRA", needs=_BOTH, rule=partial(_lira, variance="by_side")
    ),
    "lira-shrunk": MembershipAttack(
        title="LiRA, one variance",
        needs=_BOTH,
        rule=partial(_lira, variance="shrunk"),
    ),
    "lira-fixed": MembershipAttack(
        title="LiRA, fixed variance",
        needs=_BOTH,
        rule=partial(_lira, variance="pooled"),
    ),
    "lira-own": MembershipAttack(
        title="LiRA, own variances",
        needs=_BOTH,
        rule=partial(_lira, variance="per_example"),
    ),
    "lira-offline": MembershipAttack(
        title="LiRA offline", needs=_OUT, rule=_lira_offline
    ),
    "bavaria": MembershipAttack(title="BaVarIA", needs=_BOTH, rule=_bavaria),
    "base": MembershipAttack(title="BASE", needs=_BOTH, rule=_base),
    "rmia": MembershipAttack(
        title="RMIA", needs=Needs(shadows=Shadowing.BOTH, population=True), rule=_rmia
    ),
    "rmia-offline": MembershipAttack(
        title="RMIA offline",
        needs=Needs(shadows=Shadowing.OUT, population=True),
        rule=_rmia_offline,
    ),
    "quantile": MembershipAttack(
        title="quantile regression",
        needs=Needs(population=True, features=True),
        rule=_quantile,
    ),
    "label-only": MembershipAttack(
        title="label-only",
        needs=Needs(answers=Answers.CLASSES, copies=True),
        rule=_label_only,
    ),
    "trajectory": MembershipAttack(
        title="loss over rounds", needs=Needs(rounds=True), rule=_trajectory
    ),
}


def tuned(shadows: ShadowAnswers) -> float:
    """Return `a` of offline RMIA, tuned on the shadows alone."""
    return tune_a(shadows.log_p, shadows.members)
