"""Reconstructions to numbers: PSNR, SSIM, exact recovery, each beside its null.

PSNR is `10 log10(range^2 / mse)`, capped at 100 dB so that one exact record cannot
make a mean infinite. SSIM is Wang et al. (IEEE TIP 2004): Gaussian window of 11 with
sigma 1.5, K1 = 0.01, K2 = 0.03, "valid" windows only; where an image is smaller than
the window, the window shrinks to the largest odd size that fits. It is not CW-SSIM.

Candidates are assigned to records by the Hungarian method on the squared error.
Assignment favours whoever submits, so the same assignment is applied to other real
records: that is the null, and only the distance from it speaks of leakage.

Not here: perceptual metrics that need downloaded networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from attacks.errors import ScoringError

PSNR_CAP_DB = 100.0
EXACT_TOLERANCE = 1e-3
"""Largest error of an exactly recovered record, relative to the value range: a quarter
of an 8-bit grey level, and above the rounding of float32 updates."""

_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class VictimScore:
    """How well one victim's records were recovered, and how well by chance.

    `psnr` (dB) and `ssim` are means over the true records, `exact` is the fraction of
    them recovered with a largest error within tolerance. `*_null` is the same for
    other real records, averaged over the null sets. `ssim` is None for records that
    are no images.
    """

    psnr: float
    ssim: float | None
    exact: float
    psnr_null: float
    ssim_null: float | None
    exact_null: float
    n_records: int


def mse(reconstructed: Tensor, truth: Tensor) -> float:
    """Return the mean squared error of two tensors of one shape."""
    _check_same_shape(reconstructed, truth)
    return float((reconstructed.double() - truth.double()).square().mean())


def psnr(reconstructed: Tensor, truth: Tensor, *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, at most `PSNR_CAP_DB`.

    Args:
        reconstructed: any shape.
        truth: the same shape.
        data_range: highest minus lowest possible value, positive.

    Raises:
        ScoringError: shapes differ, or the range is not positive.
    """
    if not data_range > 0:
        raise ScoringError(f"data_range={data_range} must be positive.")
    error = torch.tensor(mse(reconstructed, truth), dtype=torch.float64)
    return float(_decibels(error, data_range))


def ssim(reconstructed: Tensor, truth: Tensor, *, data_range: float) -> float:
    """Return the structural similarity of two images, mean over pixels and channels.

    Args:
        reconstructed: (C, H, W) or (H, W).
        truth: the same shape.
        data_range: highest minus lowest possible value, positive.

    Raises:
        ScoringError: shapes differ or are no images, or the range is not positive.

    Source: Wang et al. 2004, equation 13.
    """
    _check_same_shape(reconstructed, truth)
    if not data_range > 0:
        raise ScoringError(f"data_range={data_range} must be positive.")
    if reconstructed.dim() not in (2, 3):
        raise ScoringError(
            f"SSIM needs (C, H, W) or (H, W), not {tuple(reconstructed.shape)}."
        )
    return float(_similarities(reconstructed[None], truth[None], data_range)[0])


def match(
    reconstructed: Tensor, truth: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign reconstructions to true records at the least total squared error.

    Args:
        reconstructed: (K, *shape), finite.
        truth: (M, *shape), finite.

    Returns:
        Two index arrays of length min(K, M): candidate `i[n]` belongs to `j[n]`.

    Raises:
        ScoringError: shapes differ, or an entry is not finite.
    """
    if reconstructed.shape[1:] != truth.shape[1:]:
        raise ScoringError(
            f"Records of shape {tuple(reconstructed.shape[1:])} cannot be matched to "
            f"{tuple(truth.shape[1:])}."
        )
    a = reconstructed.detach().double().cpu().flatten(start_dim=1).numpy()
    b = truth.detach().double().cpu().flatten(start_dim=1).numpy()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ScoringError("Only finite records can be matched; drop the others first.")
    # Differences, not ||a||^2 - 2ab + ||b||^2: that would cancel for exact records.
    errors = np.stack([((a - row) ** 2).mean(axis=1) for row in b], axis=1)
    rows, columns = linear_sum_assignment(errors)
    return rows.astype(np.int64), columns.astype(np.int64)


def score(
    reconstructed: Tensor,
    truth: Tensor,
    null_truths: Sequence[Tensor],
    *,
    value_range: tuple[float, float],
    exact_tolerance: float = EXACT_TOLERANCE,
) -> VictimScore:
    """Score one victim and its null.

    Guarantee: truth and nulls pass through the same code with the same candidates.
    A candidate that is not finite is no candidate. Where candidates are fewer than
    records, the missing ones are scored as the middle of the value range, which an
    attacker who knows nothing could have handed in, and never count as exact. That
    is no reward for failing: the nulls are completed in the same way.

    Args:
        reconstructed: (K, *shape); K may be zero or exceed the number of records.
        truth: (M, *shape), the victim's records.
        null_truths: sets of other real records, each (M, *shape), at least one.
        value_range: lowest and highest value of an entry; for standardised features
            the range that was given to the attack.
        exact_tolerance: largest error of an exact record, relative to the range.

    Raises:
        ScoringError: the sets do not fit together.
    """
    low, high = value_range
    if not low < high:
        raise ScoringError(
            f"value_range={value_range} must be (low, high), low < high."
        )
    if len(truth) == 0 or not null_truths:
        raise ScoringError("score needs at least one true record and one null set.")
    if any(null.shape != truth.shape for null in null_truths):
        raise ScoringError("Each null set must have the shape of the true records.")
    real = _against(reconstructed, truth, value_range, exact_tolerance)
    nulls = [
        _against(reconstructed, null, value_range, exact_tolerance)
        for null in null_truths
    ]
    null_ssims = [null[1] for null in nulls if null[1] is not None]
    return VictimScore(
        psnr=real[0],
        ssim=real[1],
        exact=real[2],
        psnr_null=_mean([null[0] for null in nulls]),
        ssim_null=_mean(null_ssims) if null_ssims else None,
        exact_null=_mean([null[2] for null in nulls]),
        n_records=len(truth),
    )


def _against(
    reconstructed: Tensor,
    records: Tensor,
    value_range: tuple[float, float],
    exact_tolerance: float,
) -> tuple[float, float | None, float]:
    """Return (psnr, ssim, exact) of candidates against one set of records."""
    low, high = value_range
    flat = reconstructed.detach().cpu().double().flatten(start_dim=1)
    candidates = reconstructed.detach().cpu().double()[flat.isfinite().all(dim=1)]
    submitted = len(candidates)
    missing = max(0, len(records) - submitted)
    blank = torch.full((missing, *records.shape[1:]), (low + high) / 2).double()
    candidates = torch.cat([candidates.reshape(-1, *records.shape[1:]), blank])
    ours, theirs = match(candidates, records)
    guesses, found = candidates[ours], records.detach().cpu().double()[theirs]
    gaps = (guesses - found).flatten(start_dim=1)
    decibels = _decibels(gaps.square().mean(dim=1), high - low)
    close = gaps.abs().amax(dim=1) <= exact_tolerance * (high - low)
    exact = int((close & (torch.from_numpy(ours) < submitted)).sum())
    similarity = None
    if records.dim() in (3, 4):
        similarity = _mean(_similarities(guesses, found, high - low).tolist())
    return _mean(decibels.tolist()), similarity, exact / len(records)


def _decibels(errors: Tensor, data_range: float) -> Tensor:
    """Return the capped PSNR of each mean squared error."""
    floor = data_range**2 * 10 ** (-PSNR_CAP_DB / 10)
    return 10 * torch.log10(data_range**2 / errors.clamp_min(floor))


def _similarities(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """Return the SSIM of each pair of (N, C, H, W) or (N, H, W) images, (N,)."""
    count = len(x)
    x = x.double().cpu().reshape(-1, 1, *x.shape[-2:])
    y = y.double().cpu().reshape(x.shape)
    side = min(_WINDOW, *x.shape[-2:])
    window = _gaussian_window(side - (side % 2 == 0))

    def blur(images: Tensor) -> Tensor:
        return functional.conv2d(images, window)

    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x**2
    var_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return similarity.reshape(count, -1).mean(dim=1)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _gaussian_window(side: int) -> Tensor:
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    weight = torch.exp(-(place**2) / (2 * _SIGMA**2))
    weight = weight / weight.sum()
    return torch.outer(weight, weight)[None, None]


def _check_same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ScoringError(
            f"Shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared; give "
            "records of one shape."
        )
