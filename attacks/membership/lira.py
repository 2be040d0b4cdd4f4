"""LiRA: the likelihood-ratio membership attack (Carlini et al., S&P 2022).

On logit-scaled confidences phi: for each record, Gaussians are fitted to the shadows
that trained on it and to those that did not, and the target's phi is scored by the log
ratio (online), or by how far it lies above the second alone (offline). With few shadows
the variance decides the attack's worth; the default shrinks that of each side to the
pooled one with a normal-inverse-gamma prior (in the manner of BaVarIA, arXiv
2603.11799; the prior's strength a0 = 3 is ours).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attacks.errors import ParameterError, TooFewShadows
from attacks.membership.moments import SIDE_NEEDED, Side, check_shapes, side
from attacks.ranking import ModelScores

Floats = NDArray[np.float64]
Variance = Literal["shrunk", "by_side", "pooled", "per_example"]

SHADOWS_NEEDED = 16
PRIOR_A0 = 3.0

__all__ = [
    "PRIOR_A0",
    "SHADOWS_NEEDED",
    "SIDE_NEEDED",
    "Variance",
    "lira",
    "lira_offline",
    "lira_queries",
    "rotate",
]


def lira(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    variance: Variance = "by_side",
) -> Floats:
    """Score each record's membership in the target; higher means member.

    Args:
        target_phi: logit-scaled confidence under the target, (N,).
        shadow_phi: the same under each shadow, (S, N), S at least 16.
        shadow_members: which records trained which shadow, (S, N); each record in at
            least 2 shadows and out of at least 2.
        variance: "shrunk" (one variance per record, shrunk towards the mean one:
            `(SS + 2 a0 b) / (S - 2 + 2 a0)`), "by_side" (two per record, each shrunk
            towards the mean one of its side), "pooled" (one for members and one for
            non-members over all records) or "per_example" (two per record, as in the
            paper with many shadows).

    Returns:
        Log likelihood ratios, float64 (N,).

    Raises:
        TooFewShadows: fewer models than the attack needs.
        ParameterError: arrays do not fit or are not finite; unknown variance.

    Source: Carlini et al. 2022, algorithm 1.
    """
    check_shapes(target_phi, shadow_phi, shadow_members)
    if len(shadow_phi) < SHADOWS_NEEDED:
        raise TooFewShadows(SHADOWS_NEEDED, len(shadow_phi), "shadow models")
    inside = side(shadow_phi, shadow_members, "with each")
    outside = side(shadow_phi, ~shadow_members, "without each")
    if variance == "shrunk":
        squares = inside.squares + outside.squares
        var_in = var_out = _shrunk(squares, np.asarray(len(shadow_phi) - 2))
    else:
        var_in, var_out = _variance(inside, variance), _variance(outside, variance)
    target = target_phi.astype(np.float64)
    return _log_density(target, inside.mean, var_in) - _log_density(
        target, outside.mean, var_out
    )


def lira_offline(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    variance: Variance = "shrunk",
) -> Floats:
    """Score by how surely the target's phi exceeds that of models without the record.

    One-sided, since training on a record raises its confidence: `log Phi((phi - mean) /
    sigma)`, computed as such where Phi itself would be 0.

    Args:
        target_phi: (N,).
        shadow_phi: (S, N); what shadows say of their own members is not looked at and
            may be NaN.
        shadow_members: (S, N); each record out of at least 2 shadows.
        variance: as `lira`, from the shadows without the record.

    Returns:
        float64 (N,), at most 0. Beyond some 8 sigma the scores are nearly 0, but not
        yet equal: `log Phi` keeps the order down to 38 sigma.

    Raises:
        TooFewShadows: some record is out of fewer than 2 shadows.
        ParameterError: arrays do not fit or are not finite; unknown variance.

    Source: Carlini et al. 2022, the offline attack.
    """
    check_shapes(target_phi, shadow_phi, shadow_members)
    outside = side(shadow_phi, ~shadow_members, "without each")
    sigma = np.sqrt(_safe(_variance(outside, variance), outside.mean))
    return np.asarray(special.log_ndtr((target_phi - outside.mean) / sigma))


def lira_queries(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    variance: Variance = "by_side",
) -> Floats:
    """Score by the mean log ratio over several queries of each record.

    Queries are the record and altered copies of it (`attacks.membership.queries`), the
    same for target and shadows. They are taken to be independent, which overstates
    every ratio alike.

    Args:
        target_phi: (Q, N).
        shadow_phi: (S, Q, N).
        shadow_members: (S, N).
        variance: as `lira`.

    Raises:
        As `lira`.

    Source: Carlini et al. 2022, queries with augmentations.
    """
    if target_phi.ndim != 2 or shadow_phi.shape[1:] != target_phi.shape:
        raise ParameterError(
            f"target_phi {target_phi.shape} and shadow_phi {shadow_phi.shape} must be "
            "(Q, N) and (S, Q, N)."
        )
    scores = [
        lira(one, shadow_phi[:, at], shadow_members, variance=variance)
        for at, one in enumerate(target_phi)
    ]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float64)


def rotate(
    phi: NDArray[np.floating],
    members: NDArray[np.bool_],
    *,
    variance: Variance = "by_side",
) -> tuple[ModelScores, ...]:
    """Attack each model in turn with all others as its shadows.

    One set of S trained models thus gives S ROC curves. The scores carry record ids,
    so that intervals resample a record under all models at once.

    Args:
        phi: logit-scaled confidences, (S, N); S at least 17.
        members: which records trained which model, (S, N).
        variance: see `lira`.

    Returns:
        One `ModelScores` per model.

    Raises:
        TooFewShadows: fewer than 17 models, or a record too often on one side.
        ParameterError: arrays do not fit, or a model has no members or no others.
    """
    results: list[ModelScores] = []
    for target in range(len(phi)):
        rest = np.arange(len(phi)) != target
        scores = lira(phi[target], phi[rest], members[rest], variance=variance)
        inside = members[target]
        results.append(
            ModelScores(
                members=scores[inside],
                nonmembers=scores[~inside],
                member_ids=np.flatnonzero(inside).astype(np.int64),
                nonmember_ids=np.flatnonzero(~inside).astype(np.int64),
            )
        )
    return tuple(results)


def _variance(one: Side, variance: Variance) -> Floats:
    """Return the variance of one side, per record (N,)."""
    free = one.count - 1
    if variance in ("shrunk", "by_side"):
        return _shrunk(one.squares, free)
    if variance == "pooled":
        return np.full(len(free), one.squares.sum() / free.sum())
    if variance == "per_example":
        return one.squares / free
    raise ParameterError(
        f"variance={variance!r} is unknown; use 'shrunk', 'by_side', 'pooled' or "
        "'per_example'."
    )


def _shrunk(squares: Floats, freedom: NDArray[np.int64]) -> Floats:
    typical = float((squares / freedom).mean())
    found = (squares + 2 * PRIOR_A0 * typical) / (freedom + 2 * PRIOR_A0)
    return np.asarray(found, dtype=np.float64)


def _safe(variance: Floats, mean: Floats) -> Floats:
    # Identical shadow outputs would divide by zero; float64 cannot resolve less.
    return np.maximum(variance, np.finfo(np.float64).eps * (1.0 + mean**2))


def _log_density(x: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the normal log density up to a constant."""
    safe = _safe(variance, mean)
    density = -((x - mean) ** 2) / (2 * safe) - np.log(safe) / 2
    return np.asarray(density, dtype=np.float64)
