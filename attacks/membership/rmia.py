"""RMIA: a record's likelihood ratio ranked among those of the population.

Zarifzadeh, Liu and Shokri (ICML 2024, "Low-cost high-power membership inference
attacks", sections 3 and 3.1). With `r(x) = p_target(x) / p(x)`, p(x) the mean
confidence over reference models, the score is the share of population records z with
`r(x) / r(z) >= gamma`. It depends on r(x) alone, so one sorting of the r(z) serves all
records: O((N + Z) log Z), not N by Z.

For one target the order of the scores is the order of r(x), which is the attack called
BASE (Lassila et al. 2025): the population makes scores comparable between targets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError, TooFewShadows
from attacks.ranking import auc

Floats = NDArray[np.float64]

# Candidates for `a`, as far apart as in the paper's own tuning.
GRID = tuple(round(0.1 * step, 1) for step in range(11))
# Shadows that play the target while `a` is chosen; more change little and cost as much.
_PAIRS = 4


def log_ratio(
    target_log_p: NDArray[np.floating], shadow_log_p: NDArray[np.floating]
) -> Floats:
    """Return `log r(x)` with p(x) the mean over all shadows: the score of BASE.

    Each record is to be in as many shadows as out, so that the mean is over both.

    Args:
        target_log_p: `log_confidence` under the target, (N,).
        shadow_log_p: the same under each shadow, (S, N).

    Raises:
        ParameterError: arrays do not fit, or are no log probabilities.
    """
    _check(target_log_p, shadow_log_p, shadow_log_p)
    each = shadow_log_p.astype(np.float64)
    mean = np.logaddexp.reduce(each, axis=0) - np.log(len(each))
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
    if shadow_members.shape != shadow_log_p.shape or shadow_members.dtype != np.bool_:
        raise ParameterError("shadow_members must be a bool array like shadow_log_p.")
    each = np.where(shadow_members, -np.inf, shadow_log_p.astype(np.float64))
    _check(target_log_p, shadow_log_p, np.where(shadow_members, 0.0, each))
    outside = (~shadow_members).sum(axis=0)
    if outside.min() < 1:
        raise TooFewShadows(1, 0, "shadows without each record")
    return np.asarray(
        target_log_p.astype(np.float64)
        - _filled_in(np.logaddexp.reduce(each, axis=0) - np.log(outside), a)
    )


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
        target = shadow_log_p[played][known]
        others, bits = shadow_log_p[rest][:, known], shadow_members[rest][:, known]
        for at, a in enumerate(grid):
            scores = offline_log_ratio(target, others, bits, a=a)
            total[at] += auc(scores[inside], scores[~inside])
    return float(grid[len(grid) - 1 - int(total[::-1].argmax())])


def _filled_in(log_out: Floats, a: float) -> Floats:
    """Return `log(((1 + a) p_out + (1 - a)) / 2)`."""
    certain = -np.inf if a == 1 else np.log((1 - a) / 2)
    return np.asarray(np.logaddexp(np.log((1 + a) / 2) + log_out, certain))


def _check(
    target: NDArray[np.floating],
    shadows: NDArray[np.floating],
    looked_at: NDArray[np.floating],
) -> None:
    if shadows.ndim != 2 or len(shadows) < 1 or target.shape != shadows.shape[1:]:
        raise ParameterError(
            f"target_log_p {target.shape} and shadow_log_p {shadows.shape} must be "
            "(N,) and (S, N) with S >= 1."
        )
    for one in (target, looked_at):
        if not (np.isfinite(one).all() and (one <= 0).all()):
            raise ParameterError("Log probabilities must be finite and at most 0.")
