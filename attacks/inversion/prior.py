"""What an optimising attack may assume of records: a box, and smooth images.

The total variation is the anisotropic one of Geiping et al. (NeurIPS 2020, section 3),
or an isotropic one that also looks at differences of colours.
Learned priors (generators, diffusion) are not here.
"""

import torch
from torch import Tensor
from torch.nn import functional

_ROUND_OFF = 1e-8  # square of the pixel difference below which an edge is rounded off


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


def tile_guesses(
    count: int,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
    generator: torch.Generator,
    *,
    size: int,
) -> Tensor:
    """Draw starting points that repeat one random patch, as natural images often do.

    A repeated patch holds few frequencies, so it starts smoother than noise does.

    Args:
        count: starting points.
        shape: of one starting point, (B, *shape of a record).
        value_range: box of the values, or None.
        generator: source of the draws.
        size: pixels along each side of the patch, >= 1.

    Returns:
        As `draw_guesses`; records that are no images are drawn in full.
    """
    if not is_image(shape[1:]):
        return draw_guesses(count, shape, value_range, generator)
    height, width = shape[-2:]
    patch = (*shape[:-2], min(size, height), min(size, width))
    drawn = draw_guesses(count, patch, value_range, generator)
    down, across = -(-height // patch[-2]), -(-width // patch[-1])
    tiled = drawn.repeat(*[1] * (drawn.dim() - 2), down, across)
    return tiled[..., :height, :width].contiguous()


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


def opponent_variation(images: Tensor, *, batch_axes: int) -> Tensor:
    """Return the mean length of the pixel gradient, of colours and their differences.

    The isotropic total variation of Rudin et al. (1992), also over the differences of
    the channels of a colour image (double opponents): edges of true images lie at one
    place in all colours, so these differences are smooth too.

    Args:
        images: (..., C, H, W) or (..., H, W) with `batch_axes` leading axes to keep.
        batch_axes: how many leading axes the result has.

    Returns:
        One number per leading index; zero where there is no neighbour.
    """
    if images.dim() - batch_axes >= 3 and images.shape[-3] == 3:
        red, green, blue = images.unbind(dim=-3)
        pairs = torch.stack((red - green, red - blue, green - blue), dim=-3)
        images = torch.cat((images, pairs), dim=-3)
    height, width = images.shape[-2:]
    squares = images.new_zeros(images.shape)
    if height > 1:
        down = images.diff(dim=-2).square()
        squares = squares + functional.pad(down, (0, 0, 0, 1))
    if width > 1:
        across = images.diff(dim=-1).square()
        squares = squares + functional.pad(across, (0, 1))
    # The root of zero has no slope; flat patches are the aim, so they get slope zero.
    lengths = (squares + _ROUND_OFF).sqrt() - _ROUND_OFF**0.5
    mean: Tensor = lengths.mean(dim=tuple(range(batch_axes, images.dim())))
    return mean


def is_image(shape: tuple[int, ...]) -> bool:
    """Tell whether records of this shape have neighbouring pixels."""
    return len(shape) in (2, 3)
