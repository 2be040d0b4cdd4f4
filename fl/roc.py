"""ROC plots of a membership attack, with what each proven epsilon leaves open.

One plot for the protections that prove nothing of single records, and one for each that
does: its curve beside the region that no test of one record's membership can leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attacks.bounds import DEFAULT_CONFIDENCE
from attacks.epsilon import gaussian_epsilon
from attacks.roc_band import RocBand, roc_band
from attacks.tradeoff import Curve as Tradeoff
from attacks.tradeoff import approximate_curve, gaussian_curve
from dp.relation import REPLACE
from fl.config import Config
from fl.finding import Finding, Ranking
from fl.membership import LIRA
from fl.report import Curve, PrivacyRow, Series
from fl.seeds import seed_for
from fl.validity import ON_RECORDS

GRID = np.logspace(-4, 0, 60)
# Above this epsilon the limit is 1 at every rate that a drawing can show.
ALLOWS_ALL = 30.0
_CAPTION = (
    "Log-log; scores pooled over the repetitions; n = {members} members and "
    "{others} others. Drawn from the false-positive rate that ten others resolve; the "
    "band is the {level:.0%} interval at each rate by itself. The diagonal is guessing."
)
_CLAIMED = (
    " The limit is the most that any attack reaches under the proven epsilon and "
    "delta, two steps of them where neighbours differ by one more or less; "
    "the Gaussian line is what a Gaussian mechanism of this epsilon and delta "
    "allows, which is no limit for noise of another shape."
)


def curves(
    findings: Sequence[Finding], privacy: Sequence[PrivacyRow], config: Config
) -> list[Curve]:
    """Plot the attack on the released models, per protection where a claim exists."""
    seen = [one for one in findings if _on_release(one)]
    # The likelihood ratio is comparable between models, as the pooling wants.
    attack = next((one.attack for one in seen if one.attack == LIRA), None)
    if attack is None:
        attack = next((one.attack for one in seen), LIRA)
    title = f"Membership inference on the released model ({attack})"
    claims = {row.protection: row for row in privacy if _claimed(row)}
    plain: list[tuple[str, RocBand]] = []
    proven: list[Curve] = []
    for name, band in _bands([one for one in seen if one.attack == attack], config):
        if name not in claims:
            plain.append((name, band))
            continue
        limits = [_limit(claims[name], band.fpr), _gaussian(claims[name], band.fpr)]
        shown, kept = [(name, band)], [one for one in limits if one]
        proven.append(_plot(f"{title}, under {name}", shown, kept))
    if not plain:
        return proven
    return [_plot(f"{title}, without a proven epsilon", plain, []), *proven]


def _on_release(finding: Finding) -> bool:
    return (
        finding.attack in ON_RECORDS
        and finding.adversary.value == "outsider"
        and isinstance(finding.measures[0], Ranking)
    )


def _bands(findings: Sequence[Finding], config: Config) -> list[tuple[str, RocBand]]:
    made: dict[str, RocBand] = {}
    for finding in findings:
        measure = finding.measures[0]
        if not isinstance(measure, Ranking):
            continue
        models = [group.model_scores for group in measure.groups]
        seed = seed_for(config.seed, "roc", finding.protection)
        band = roc_band(models, GRID.tolist(), seed=seed)
        if band is not None:
            made[finding.protection] = band
    return list(made.items())


def _plot(
    title: str, shown: Sequence[tuple[str, RocBand]], limits: Sequence[Series]
) -> Curve:
    said = _CAPTION.format(
        members=shown[0][1].members,
        others=shown[0][1].nonmembers,
        level=DEFAULT_CONFIDENCE,
    )
    return Curve(
        title=title,
        caption=said + (_CLAIMED if limits else ""),
        x_label="false-positive rate",
        y_label="true-positive rate",
        series=(*(series_of(*one) for one in shown), *limits),
        log_x=True,
        log_y=True,
        diagonal=True,
        place="exposed",
    )


def series_of(name: str, band: RocBand) -> Series:
    """Return a measured curve with its band, high enough for a log scale."""
    # One member in all is the least that a rate can show.
    least = 1 / band.members
    return Series(
        name=name,
        x=tuple(band.fpr.tolist()),
        y=tuple(np.maximum(band.tpr, least).tolist()),
        low=tuple(np.maximum(band.low, least).tolist()),
        high=tuple(np.maximum(band.high, least).tolist()),
    )


def _claimed(row: PrivacyRow) -> bool:
    return row.epsilon_upper is not None and row.epsilon_upper <= ALLOWS_ALL


def _limit(row: PrivacyRow, grid: Sequence[float] | np.ndarray) -> Series | None:
    """Return the most that any test of one record's membership reaches.

    TPR <= min(e^eps FPR + delta, 1 - e^-eps (1 - delta - FPR)): Kairouz, Oh and
    Viswanath, ICML 2015, theorem 2.1. As many records are trained on whoever they are,
    so one that is in is there in another's place: one removed and one added, and the
    bound is that of two steps (Dwork and Roth 2014, theorem 2.2: 2 eps, (1 + e^eps)
    delta), unless the relation is to replace.
    """
    if row.epsilon_upper is None or not _claimed(row):
        return None
    epsilon, delta = row.epsilon_upper, row.delta or 0.0
    if _steps(row) == 2:
        epsilon, delta = 2 * epsilon, (1 + math.exp(epsilon)) * delta
    if delta >= 1:
        return None
    name = f"limit of {row.protection} (epsilon {row.epsilon_upper:.3g})"
    return reference(name, approximate_curve(epsilon, delta), grid)


def _gaussian(row: PrivacyRow, grid: Sequence[float] | np.ndarray) -> Series | None:
    """Return the ROC curve of the Gaussian mechanism of this epsilon and delta.

    Phi(Phi^-1(FPR) + mu), Dong, Roth and Su 2022; two steps away it is that of 2 mu.
    """
    if row.epsilon_upper is None or not row.delta or not _claimed(row):
        return None
    reached = _steps(row) * _mu(row.epsilon_upper, row.delta)
    return reference(f"Gaussian, mu {reached:.2g}", gaussian_curve(reached), grid)


def _steps(row: PrivacyRow) -> int:
    """Return how many neighbours away a set with another record in one's place is."""
    return 1 if row.relation == REPLACE else 2


def _mu(epsilon: float, delta: float) -> float:
    """Return the largest mu whose epsilon at this delta is at most this one."""
    low, high = 0.0, 1.0
    while gaussian_epsilon(high, delta) <= epsilon:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if gaussian_epsilon(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low


def reference(
    name: str, least: Tradeoff, grid: Sequence[float] | np.ndarray
) -> Series | None:
    """Draw what a trade-off curve leaves open, as far as it is below one."""
    points = [(float(x), 1 - least(1 - float(x))) for x in grid]
    kept = [(x, y) for x, y in points if 0 < y < 1 - 1e-12]
    if not kept:
        return None
    return Series(
        name=name,
        x=tuple(x for x, _ in kept),
        y=tuple(y for _, y in kept),
        role="reference",
    )
