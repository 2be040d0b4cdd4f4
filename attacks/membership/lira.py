"""LiRA: the likelihood-ratio membership attack (Carlini et al., S&P 2022).

Online variant on logit-scaled confidences phi: for each record, Gaussians are fitted to
the shadows that trained on it and to those that did not, and the target's phi is
scored by the log ratio. With few shadows the variance decides the attack's worth; the
default shrinks it towards the pooled one with a normal-inverse-gamma prior (in the
manner of BaVarIA, arXiv 2603.11799; the prior's strength a0 = 3 is ours).

Not here: the offline variant, augmented queries, RMIA.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError, TooFewShadows
from attacks.ranking import ModelScores

Floats = NDArray[np.float64]
Variance = Literal["shrunk", "pooled", "per_example"]

SHADOWS_NEEDED = 16
SIDE_NEEDED = 2  # shadows with, and without, each record: fewer have no spread
_PRIOR_A0 = 3.0


def lira(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    variance: Variance = "shrunk",
) -> Floats:
    """Score each record's membership in the target; higher means member.

    Args:
        target_phi: logit-scaled confidence under the target, (N,).
        shadow_phi: the same under each shadow, (S, N), S at least 16.
        shadow_members: which records trained which shadow, (S, N); each record in at
            least 2 shadows and out of at least 2.
        variance: "shrunk" (one variance per record, shrunk towards the mean one:
            `(SS + 2 a0 b) / (S - 2 + 2 a0)`), "pooled" (one for members and one for
            non-members over all records) or "per_example" (two per record, as in the
            paper with many shadows).

    Returns:
        Log likelihood ratios, float64 (N,).

    Raises:
        TooFewShadows: fewer models than the attack needs.
        ParameterError: arrays do not fit or are not finite; unknown variance.

    Source: Carlini et al. 2022, algorithm 1.
    """
    _check(target_phi, shadow_phi, shadow_members)
    phi = shadow_phi.astype(np.float64)
    target = target_phi.astype(np.float64)
    inside, outside = shadow_members, ~shadow_members
    n_in, n_out = inside.sum(axis=0), outside.sum(axis=0)
    mean_in = np.where(inside, phi, 0.0).sum(axis=0) / n_in
    mean_out = np.where(outside, phi, 0.0).sum(axis=0) / n_out
    squares_in = np.where(inside, (phi - mean_in) ** 2, 0.0).sum(axis=0)
    squares_out = np.where(outside, (phi - mean_out) ** 2, 0.0).sum(axis=0)
    if variance == "shrunk":
        freedom = len(phi) - 2
        squares = squares_in + squares_out
        typical = float((squares / freedom).mean())
        shrunk = (squares + 2 * _PRIOR_A0 * typical) / (freedom + 2 * _PRIOR_A0)
        var_in = var_out = shrunk
    elif variance == "pooled":
        var_in = np.full(len(target), squares_in.sum() / (n_in - 1).sum())
        var_out = np.full(len(target), squares_out.sum() / (n_out - 1).sum())
    elif variance == "per_example":
        var_in, var_out = squares_in / (n_in - 1), squares_out / (n_out - 1)
    else:
        raise ParameterError(
            f"variance={variance!r} is unknown; use 'shrunk', 'pooled' or "
            "'per_example'."
        )
    return _log_density(target, mean_in, var_in) - _log_density(
        target, mean_out, var_out
    )


def rotate(
    phi: NDArray[np.floating],
    members: NDArray[np.bool_],
    *,
    variance: Variance = "shrunk",
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


def _log_density(x: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the normal log density up to a constant."""
    # Identical shadow outputs would divide by zero; float64 cannot resolve less.
    floor = np.finfo(np.float64).eps * (1.0 + mean**2)
    safe = np.maximum(variance, floor)
    density = -((x - mean) ** 2) / (2 * safe) - np.log(safe) / 2
    return np.asarray(density, dtype=np.float64)


def _check(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
) -> None:
    if shadow_phi.ndim != 2 or target_phi.shape != shadow_phi.shape[1:]:
        raise ParameterError(
            f"target_phi {target_phi.shape} and shadow_phi {shadow_phi.shape} must be "
            "(N,) and (S, N)."
        )
    if shadow_members.shape != shadow_phi.shape or shadow_members.dtype != np.bool_:
        raise ParameterError(
            "shadow_members must be a bool array shaped as shadow_phi."
        )
    if not (np.isfinite(target_phi).all() and np.isfinite(shadow_phi).all()):
        raise ParameterError("Confidences must be finite.")
    if len(shadow_phi) < SHADOWS_NEEDED:
        raise TooFewShadows(SHADOWS_NEEDED, len(shadow_phi), "shadow models")
    fewest_in = int(shadow_members.sum(axis=0).min())
    fewest_out = int((~shadow_members).sum(axis=0).min())
    if fewest_in < SIDE_NEEDED:
        raise TooFewShadows(SIDE_NEEDED, fewest_in, "shadows with each record")
    if fewest_out < SIDE_NEEDED:
        raise TooFewShadows(SIDE_NEEDED, fewest_out, "shadows without each record")
