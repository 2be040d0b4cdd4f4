"""The cocktail party attack: separate the records of a layer's gradient by ICA.

Kariyappa et al., "Cocktail Party Attack: Breaking Aggregation-Based Privacy in
Federated Learning Using Independent Component Analysis", ICML 2023, arXiv 2209.05578.
Every row of `dW = sum_i d_i x_i^T` is a mixture of the records, so finding them is
blind source separation: whiten, then look for projections that are far from Gaussian
(negentropy with log cosh, Hyvärinen 1999) and unlike each other. It needs no ReLU and
takes a sum over clients as one batch, but records that are neither independent nor
non-Gaussian stay mixed, and nothing tells: answers are never certified.

Two departures from the paper. It follows the gradient of negentropy plus total
variation plus a soft penalty on likeness; here FastICA runs on the differences of
neighbouring pixels, which are mixed by the same matrix, far from Gaussian, and nearly
uncorrelated where the images are not. And ICA leaves sign and scale open: here they
follow from the bias gradient, which is the same mixture of ones.

Not here: feature inversion behind convolutions.
"""

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.layers import first_linear
from attacks.inversion.prior import is_image
from attacks.observation import Observation, require

_CONVERGED = 1e-10  # 1 - |cosine| of two rotations in a row
_SMALLEST = 1e-9  # singular value, relative to the largest, that is rounding
_GAP = 1e3  # ratio of neighbouring ones that ends the records
_GAUSSIAN_LOG_COSH = 0.37456720749882  # E log cosh of a standard normal


@dataclass(frozen=True, slots=True, kw_only=True)
class CocktailParty:
    """Separate the inputs of the first linear layer.

    Guarantee: none; every answer is a candidate. Independent, non-Gaussian records
    longer than their number squared come out nearly exactly.

    Args:
        iterations: budget: steps of FastICA, which mostly stops far earlier.
        max_records: refuse larger batches.
    """

    name: ClassVar[str] = "cocktail party"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset({"batch_size", "steps", "value_range"})
    iterations: int = 500
    max_records: int = 1024

    def __post_init__(self) -> None:
        if min(self.iterations, self.max_records) < 1:
            raise ParameterError(
                f"iterations={self.iterations} and max_records={self.max_records} "
                "must be positive."
            )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Separate one observation; the same seed gives the same answer.

        Returns:
            One candidate per record of the batch, or per rank of the gradient if
            their number is unknown; `objective` is minus their mean negentropy.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        mixtures, why_not = _mixtures(seen, self.max_records)
        if mixtures is None:
            return refused(seen, why_not, time.perf_counter() - start)
        white, unmix = whiten(contrasts(mixtures[:, :-1], seen.input_shape))
        generator = torch.Generator().manual_seed(seed)
        turn = fast_ica(white, self.iterations, generator)
        inputs = _scaled(turn @ unmix @ mixtures, seen.value_range)
        return Reconstruction(
            inputs=inputs.to(next(seen.model.parameters()).dtype).reshape(
                -1, *seen.input_shape
            ),
            labels=None,
            certificate=Certificate.UNCERTIFIED,
            reason="Independent components are candidates; nothing is proven.",
            objective=-float(negentropy(turn @ white).mean()),
            seconds=time.perf_counter() - start,
        )


def negentropy(signals: Tensor) -> Tensor:
    """Return `(E log cosh s - E log cosh nu)^2` of each row, nu standard normal.

    Args:
        signals: (K, n), each row of mean zero and variance one.

    Source: Hyvärinen 1999, equation 8, with G = log cosh.
    """
    # log cosh s = |s| + log1p(exp(-2|s|)) - log 2 does not overflow.
    size = signals.abs()
    log_cosh = size + torch.log1p(torch.exp(-2 * size)) - math.log(2)
    return (log_cosh.mean(dim=1) - _GAUSSIAN_LOG_COSH).square()


def whiten(mixtures: Tensor) -> tuple[Tensor, Tensor]:
    """Centre rows and make them uncorrelated with variance one.

    Args:
        mixtures: (b, n).

    Returns:
        The white rows (r, n) and the matrix (r, b) that makes them of centred
        mixtures; r < b where the centred rows are dependent.
    """
    centred = mixtures - mixtures.mean(dim=1, keepdim=True)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    kept = values > _SMALLEST * values[0]
    unmix = (left[:, kept] / values[kept]).T * mixtures.shape[1] ** 0.5
    return unmix @ centred, unmix


def fast_ica(white: Tensor, iterations: int, generator: torch.Generator) -> Tensor:
    """Return the rotation (r, r) that FastICA with tanh finds, all rows at once.

    Args:
        white: (r, n), uncorrelated rows of variance one.
        iterations: at most so many steps.
        generator: of the first rotation.

    Source: Hyvärinen 1999, equations 20 (fixed point) and 26 (decorrelation).
    """
    count, length = white.shape
    drawn = torch.randn((count, count), generator=generator, dtype=torch.float64)
    turn = _decorrelated(drawn.to(white))
    for _ in range(iterations):
        bent = torch.tanh(turn @ white)
        slope = (1 - bent.square()).mean(dim=1)
        new = _decorrelated(bent @ white.T / length - slope[:, None] * turn)
        change = float((1 - (new * turn).sum(dim=1).abs()).max())
        turn = new
        if change < _CONVERGED:
            break
    return turn


def contrasts(records: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return differences of neighbouring pixels, or records that are no images as is.

    Args:
        records: (b, n), or mixtures of them.
        shape: of one record.
    """
    if not is_image(shape):
        return records
    images = records.reshape(-1, *shape)
    across, down = images.diff(dim=-1).flatten(1), images.diff(dim=-2).flatten(1)
    found = torch.cat([across, down], dim=1)
    return found if found.shape[1] > len(found) else records


def _mixtures(seen: Observation, most_records: int) -> tuple[Tensor | None, str]:
    """Return b mixtures of [record, 1], (b, n + 1), or the reason for none."""
    site, why_not = first_linear(seen.model, seen.input_shape)
    if site is None or site.bias is None:
        return None, why_not
    gradient = seen.gradient or {}
    if site.weight not in gradient or site.bias not in gradient:
        return None, "The update lacks the first layer's weight or bias."
    joint = torch.cat([gradient[site.weight], gradient[site.bias][:, None]], dim=1)
    joint = joint.double()
    if not bool(joint.isfinite().all()):
        return None, "The first layer's gradient is not finite."
    if not bool((joint[:, :-1] != 0).any()):
        return None, "The gradient of the first layer's weight is zero."
    _, values, right = torch.linalg.svd(joint, full_matrices=False)
    count = _count(values, seen)
    if count > most_records:
        return None, f"{count} records are more than the limit of {most_records}."
    if count >= joint.shape[1] - 1:
        return None, (
            f"{count} records of {joint.shape[1] - 1} entries are too short to be "
            "told apart by their distribution."
        )
    return values[:count, None] * right[:count], ""


def _count(values: Tensor, seen: Observation) -> int:
    """Return how many sources to look for: the records of all steps, or the rank."""
    positive = values[values > _SMALLEST * values[0]]
    if seen.records is not None:
        return min(seen.records * (seen.steps or 1), len(positive))
    ratios = positive[:-1] / positive[1:]
    if len(ratios) and float(ratios.max()) >= _GAP:
        return int(ratios.argmax()) + 1
    return len(positive)


def _decorrelated(turn: Tensor) -> Tensor:
    """Return the nearest orthogonal matrix, (W W^T)^-1/2 W."""
    left, _, right = torch.linalg.svd(turn)
    nearest: Tensor = left @ right
    return nearest


def _scaled(signals: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    """Scale [record, 1] signals by their last entry, and clamp into the range.

    Where the separation is poor, the last entry says little: a known range bounds the
    scale then.
    """
    records, ones = signals[:, :-1], signals[:, -1]
    size = records.abs().amax(dim=1).clamp_min(1e-300)
    limit = 1e12 if value_range is None else max(abs(end) for end in value_range)
    sign = torch.where(ones < 0, -1.0, 1.0).to(records)
    records = records * (sign / torch.maximum(ones.abs(), size / limit))[:, None]
    return records if value_range is None else records.clamp(*value_range)
