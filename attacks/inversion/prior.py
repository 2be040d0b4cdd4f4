"""What an optimising attack may assume of records: a box, and smooth images.

The total variation is the anisotropic one of Geiping et al. (NeurIPS 2020, section 3).
Learned priors (generators, diffusion) are not here.
"""

import torch
from torch import Tensor


def draw_guesses(
    count: int,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
    generator: torch.Generator,
) -> Tensor:
    """Draw `count` starting points: uniform in the box, or standard normal.

    Returns:
        float64 (count, *shape) on the CPU, so that a seed means the same everywhere.
    """
    size = (count, *shape)
    if value_range is None:
        return torch.randn(size, generator=generator, dtype=torch.float64)
    low, high = value_range
    noise = torch.rand(size, generator=generator, dtype=torch.float64)
    return low + (high - low) * noise


def boxed(inputs: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    """Clamp guesses into the known range of values, if one is known."""
    return inputs if value_range is None else inputs.clamp(*value_range)


def total_variation(images: Tensor, *, batch_axes: int) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels.

    Args:
        images: (..., H, W) with `batch_axes` leading axes to keep.
        batch_axes: how many leading axes the result has.

    Returns:
        One number per leading index; zero where there is no neighbour.
    """
    keep = tuple(range(batch_axes, images.dim()))
    total = images.new_zeros(images.shape[:batch_axes])
    for axis in (-1, -2):
        if images.shape[axis] > 1:
            total = total + images.diff(dim=axis).abs().mean(dim=keep)
    return total


def is_image(shape: tuple[int, ...]) -> bool:
    """Tell whether records of this shape have neighbouring pixels."""
    return len(shape) in (2, 3)
