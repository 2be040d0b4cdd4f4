"""What batch norm layers tell about a batch: its mean and variance at their inputs.

A client that trains in training mode moves each layer's running buffers by
`after = (1 - m) before + m batch`, with a momentum m that is part of the model. Whoever
sees the buffers before and after one step solves for the batch; after several steps
only a weighted mean of theirs is left, which is refused here. Huang et al. (arXiv
2112.00059) show how much of GradInversion's success is this knowledge.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from attacks.errors import ParameterError
from attacks.inversion.replay import Replay

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""By module name, mean and variance (with n - 1) of each channel."""

_FLOOR = 1e-12  # variance of a channel that does not vary


def statistics_of_buffers(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Solve for the statistics of the batch of one step.

    Guarantee: exact up to rounding, which is magnified by 1 / momentum.

    Args:
        model: whose batch norm layers these are.
        before: its buffers before the step, by name.
        after: those of the same client after it.

    Returns:
        One entry for each batch norm that keeps running statistics.

    Raises:
        ParameterError: there is no such layer, a buffer is missing, or the layers did
            not count exactly one batch (caller).
    """
    found = {}
    for name, layer in _norms(model).items():
        if not layer.track_running_stats:
            continue
        path = f"{name}." if name else ""
        try:
            old, new = (
                [
                    buffers[f"{path}{kind}"].double()
                    for kind in ("running_mean", "running_var", "num_batches_tracked")
                ]
                for buffers in (before, after)
            )
        except KeyError as missing:
            raise ParameterError(
                f"Buffer {missing} is not there; give all buffers of the model."
            ) from None
        if float(new[2] - old[2]) != 1:
            raise ParameterError(
                f"Layer {name!r} counted {float(new[2] - old[2]):.0f} batches; "
                "statistics follow from the buffers of exactly one."
            )
        pace = 1 / float(new[2]) if layer.momentum is None else layer.momentum
        if pace == 0:
            raise ParameterError(f"Layer {name!r} has momentum 0, so it says nothing.")
        mean, variance = (old[i] + (new[i] - old[i]) / pace for i in (0, 1))
        found[name] = (mean, variance)
    if not found:
        raise ParameterError(
            "The model has no batch norm that keeps running statistics."
        )
    return found


def batch_statistics(
    replay: Replay, inputs: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the statistics of guessed records, differentiable and fit for vmap.

    Args:
        replay: the attacker's copy of the model.
        inputs: (B, *input_shape).
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].transpose(0, 1).flatten(1)  # (channels, n)
            found[name] = (values.mean(dim=1), values.var(dim=1))

        return note

    hooks = [
        layer.register_forward_pre_hook(keep(name))
        for name, layer in _norms(replay.module).items()
    ]
    try:
        replay.forward(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def statistics_gap(guess: Statistics, seen: Statistics) -> Tensor:
    """Return how far statistics are apart: zero if and only if they are equal.

    Squares in units of the seen variance, mean over channels and layers, so that a
    weight means the same on any net. (Yin et al. sum plain norms.)
    """
    gaps = []
    for name, (mean, variance) in seen.items():
        unit = variance.clamp_min(_FLOOR)
        of_mean = (guess[name][0] - mean).square() / unit
        of_variance = ((guess[name][1] - variance) / unit).square()
        gaps.append((of_mean + of_variance).mean())
    return torch.stack(gaps).mean()


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
