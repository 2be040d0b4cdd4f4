"""RMIA: a record's likelihood ratio ranked among those of the population.

Zarifzadeh, Liu and Shokri (ICML 2024, "Low-cost high-power membership inference
attacks"). With `r(x) = p_target(x) / p(x)`, p(x) the mean
confidence over reference models with and without x, the score is the share of
population records z with `r(x) / r(z) >= gamma`. It depends on r(x) alone, so one
sorting of the r(z) serves all records: O((N + Z) log Z), not N by Z.

For one target the order of the scores is the order of r(x), which is the attack called
BASE (Lassila et al. 2025): the population makes scores comparable between targets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError, TooFewShadows
from attacks.membership.moments import check_shapes
from attacks.ranking import auc

Floats = NDArray[np.float64]

# Candidates for `a`, as far apart as in the paper's own tuning.
GRID = tuple(round(0.1 * step, 1) for step in range(11))
# Shadows that play the target while `a` is chosen; more change little and cost as much.
_PAIRS = 4


def log_ratio(
    target_log_p: NDArray[np.floating],
    shadow_log_p: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
) -> Floats:
    """Return `log r(x)` with p(x) half-way between shadows with and without x.

    Each side is averaged by itself. The plain mean over all shadows is the same where
    the sides are equal; in a rotation, where each record is in equally many models,
    they are not, and how many of the others know a record tells whether the target
    does: the plain mean would find members of a model that learnt nothing.

    Args:
        target_log_p: `log_confidence` under the target, (N,).
        shadow_log_p: the same under each shadow, (S, N).
        shadow_members: which records trained which shadow, (S, N).

    Raises:
        TooFewShadows: some record is in every shadow, or in none.
        ParameterError: arrays do not fit, or are no log probabilities.
    """
    inside = _log_mean(target_log_p, shadow_log_p, shadow_members, "with each")
    outside = _log_mean(target_log_p, shadow_log_p, ~shadow_members, "without each")
    mean = np.logaddexp(inside, outside) - np.log(2)
    return np.asarray(target_log_p.astype(np.float64) - mean)


def offline_log_ratio(
    target_log_p: NDArray[np.floating],
    shadow_log_p: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    a: float,
) -> Floats:
    """Return `log r(x)` where only shadows without x are known.

    p(x) is taken to be `((1 + a) p_out(x) + (1 - a)) / 2`: a is how much of the way to
    certainty a model does *not* go that trained on the record (see `tune_a`).

    Args:
        target_log_p: `log_confidence` under the target, (N,).
        shadow_log_p: the same under each shadow, (S, N); what shadows say of their own
            members is not looked at and may be NaN.
        shadow_members: which records trained which shadow, (S, N).
        a: in [0, 1].

    Raises:
        TooFewShadows: some record is in every shadow.
        ParameterError: arrays do not fit, or are no log probabilities, or a is out of
            range.

    Source: Zarifzadeh et al. 2024, the offline approximation of Pr(x).
    """
    if not 0 <= a <= 1:
        raise ParameterError(f"a={a} must lie in [0, 1].")
    outside = _log_mean(target_log_p, shadow_log_p, ~shadow_members, "without each")
    return np.asarray(target_log_p.astype(np.float64) - _half_certain(outside, a))


def ranked(
    log_r: Floats, population: NDArray[np.bool_], *, gamma: float = 1.0
) -> Floats:
    """Return each record's RMIA score: the share of z with `r(x) / r(z) >= gamma`.

    Args:
        log_r: of all records, by `log_ratio` or `offline_log_ratio`, (N,).
        population: which records are z, (N,) bool; they are not to be scored.
        gamma: at least 1.

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ParameterError: an empty population, arrays do not fit, or a bad gamma.
    """
    if population.shape != log_r.shape or population.dtype != np.bool_:
        raise ParameterError("population must be a bool array with one bit a record.")
    if not population.any():
        raise ParameterError("RMIA needs at least one population record.")
    if not gamma >= 1:
        raise ParameterError(f"gamma={gamma} must be at least 1.")
    z = np.sort(log_r[population])
    beaten = np.searchsorted(z, log_r - np.log(gamma), side="right")
    return np.asarray(beaten / len(z), dtype=np.float64)


def tune_a(
    shadow_log_p: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    grid: Sequence[float] = GRID,
) -> float:
    """Choose `a` on shadows alone: each of some plays the target of the others.

    The target and its members never enter. Ranking by r(x) has the AUC of the whole
    attack (see above), so no population is needed.

    Args:
        shadow_log_p: (S, N), S at least 2.
        shadow_members: (S, N).
        grid: candidates in [0, 1], ascending.

    Returns:
        The candidate of the highest mean AUC; the largest of several.

    Raises:
        ParameterError: fewer than two shadows, or arrays do not fit.
    """
    if len(shadow_log_p) < 2:
        raise ParameterError("Tuning needs a shadow to attack and one to attack with.")
    total = np.zeros(len(grid))
    for played in range(min(_PAIRS, len(shadow_log_p))):
        rest = np.arange(len(shadow_log_p)) != played
        # A record that all the others trained on cannot be asked about.
        known = ~shadow_members[rest].all(axis=0)
        inside = shadow_members[played][known]
        if inside.all() or not inside.any():
            continue
        target = shadow_log_p[played][known].astype(np.float64)
        others, without = shadow_log_p[rest][:, known], ~shadow_members[rest][:, known]
        outside = _log_mean(target, others, without, "without each")
        for at, a in enumerate(grid):
            scores = target - _half_certain(outside, a)
            total[at] += auc(scores[inside], scores[~inside])
    return float(grid[len(grid) - 1 - int(total[::-1].argmax())])


def _half_certain(log_out: Floats, a: float) -> Floats:
    """Return `log(((1 + a) p_out + (1 - a)) / 2)`."""
    certain = -np.inf if a == 1 else np.log((1 - a) / 2)
    return np.asarray(np.logaddexp(np.log((1 + a) / 2) + log_out, certain))


def _log_mean(
    target_log_p: NDArray[np.floating],
    shadow_log_p: NDArray[np.floating],
    chosen: NDArray[np.bool_],
    name: str,
) -> Floats:
    """Return the log of the mean confidence of each record's chosen shadows, (N,)."""
    check_shapes(target_log_p, shadow_log_p, chosen)
    count = chosen.sum(axis=0)
    if count.min() < 1:
        raise TooFewShadows(1, 0, f"shadows {name} record")
    seen = np.where(chosen, shadow_log_p, 0.0)
    if not np.isfinite(seen).all() or (seen > 0).any() or (target_log_p > 0).any():
        raise ParameterError("Log probabilities must be finite and at most 0.")
    each = np.where(chosen, shadow_log_p.astype(np.float64), -np.inf)
    return np.asarray(np.logaddexp.reduce(each, axis=0) - np.log(count))
