"""Compare gradients of many guesses with their targets, without writing the gradients.

The gradient of a linear layer over the records b of a guess is `sum_b d_b a_b^T`, with
its input `a` and the slope `d` of the loss at its output. So

    |dW|^2 = sum_bc (d_b . d_c)(a_b . a_c)       and       <dW, T> = sum_b d_b . T a_b

need no matrix of the layer's size for each guess: all guesses go through the model as
one batch, forward and back to the outputs of its layers (norms as in Goodfellow,
arXiv 1510.01799; here also the inner product). Convolutions are not here: written out
through their unfolded input they were slower than what autograd does.

Valid where every observed weight belongs to a linear layer that is called once, and
records do not meet (no batch statistics): `ghost_of` checks it on a run of the model,
and the caller falls back. Equal to autograd up to rounding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.inversion.replay import Replay


class _CalledTwiceError(Exception):
    """A layer ran twice in one pass, so its gradient is a sum over calls."""


@dataclass(frozen=True, slots=True)
class Ghost:
    """A model all of whose observed weights are compared through activations.

    Attributes:
        replay: the model.
        layers: by name, those whose weight or bias was observed.
    """

    replay: Replay
    layers: Mapping[str, nn.Linear]

    def products(
        self, guesses: Tensor, labels: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return <gradient, target> and |gradient|^2 of each guess, differentiable.

        Args:
            guesses: (K, R, B, *shape): R guesses at each of K targets.
            labels: (K, B, classes) or (K, R, B, classes) probabilities.
            targets: by parameter name, (K, *shape of the parameter).

        Returns:
            Each (K, R).
        """
        sizes = guesses.shape[:3]
        spread = labels[:, None] if labels.dim() == 3 else labels
        each = spread.expand(*sizes, labels.shape[-1]).flatten(0, 2)
        inputs, slopes = self._sides(guesses.flatten(0, 2), each)
        dots = guesses.new_zeros(sizes[:2])
        squares = guesses.new_zeros(sizes[:2])
        for name in self.layers:
            dot, square = _compare(
                inputs[name].reshape(*sizes, *inputs[name].shape[1:]),
                slopes[name].reshape(*sizes, -1) / sizes[2],
                targets.get(f"{name}.weight"),
                targets.get(f"{name}.bias"),
            )
            dots, squares = dots + dot, squares + square
        return dots, squares

    def _sides(
        self, batch: Tensor, labels: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return each layer's input, and the slope of the summed loss at its output."""
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def note(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
                if name in outputs:
                    raise _CalledTwiceError
                inputs[name], outputs[name] = given[0], out

            return note

        hooks = [
            layer.register_forward_hook(keep(name))
            for name, layer in self.layers.items()
        ]
        try:
            with torch.enable_grad():
                if not batch.requires_grad:
                    batch = batch.detach().requires_grad_(True)
                loss = functional.cross_entropy(
                    self.replay.module(batch), labels, reduction="sum"
                )
                slopes = torch.autograd.grad(
                    loss,
                    list(outputs.values()),
                    create_graph=True,
                    materialize_grads=True,
                )
        finally:
            for hook in hooks:
                hook.remove()
        return inputs, dict(zip(outputs, slopes, strict=True))


def ghost_of(replay: Replay, shape: tuple[int, ...]) -> Ghost | None:
    """Return the model ready for comparison, or None where that would be wrong.

    Args:
        replay: the attacker's copy of the model.
        shape: of one record.
    """
    layers = _layers_of(replay)
    if layers is None:
        return None
    ghost = Ghost(replay, layers)
    return ghost if _agrees(ghost, shape) else None


def _layers_of(replay: Replay) -> Mapping[str, nn.Linear] | None:
    """Return the layers of the observed weights; None if one is not linear."""
    found: dict[str, nn.Linear] = {}
    for name in replay.weights:
        path, _, last = name.rpartition(".")
        layer = replay.module.get_submodule(path)
        if type(layer) is not nn.Linear or last not in ("weight", "bias"):
            return None
        found[path] = layer
    return found


def _agrees(ghost: Ghost, shape: tuple[int, ...]) -> bool:
    """Say whether two guesses of two records compare as autograd compares them.

    The target is the gradient of the second guess.
    """
    weight = next(iter(ghost.replay.weights.values()))
    draw = torch.Generator().manual_seed(0)
    guesses = torch.rand((1, 2, 2, *shape), generator=draw, dtype=torch.float64)
    guesses = guesses.to(weight.device, weight.dtype)
    try:
        classes = ghost.replay.logits(guesses[0, 0]).shape[-1]
        labels = torch.rand((1, 2, classes), generator=draw, dtype=torch.float64)
        labels = labels.to(weight.device, weight.dtype).softmax(dim=2)
        true = [
            ghost.replay.gradient(guess, labels[0], differentiable=False)
            for guess in guesses[0]
        ]
        target = {name: g[None] for name, g in true[1].items()}
        dots, squares = ghost.products(guesses, labels, target)
    except (_CalledTwiceError, RuntimeError, ValueError, IndexError):
        return False  # of a shape that is not compared here
    own = torch.stack([_inner(each, each) for each in true])
    with_target = torch.stack([_inner(each, true[1]) for each in true])
    slack = 1e3 * torch.finfo(weight.dtype).eps
    close = (dots[0].detach() - with_target).abs() <= slack * (own * own[1]).sqrt()
    return bool((close & ((squares[0].detach() - own).abs() <= slack * own)).all())


def _inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in b]).sum()


def _compare(
    a: Tensor, d: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return <gradient, target> and |gradient|^2 of one layer, each (K, R).

    Args:
        a: its inputs, (K, R, B, in).
        d: the slopes at its outputs, (K, R, B, out).
        weight: the targets', (K, out, in), or None if it was not observed.
        bias: the targets', (K, out), or None.
    """
    if a.dim() != 4:
        raise ValueError("a linear layer within a sequence sums over its places.")
    dot, square = a.new_zeros(a.shape[:2]), a.new_zeros(a.shape[:2])
    alike = d @ d.transpose(2, 3)  # (K, R, B, B)
    if weight is not None:
        through = a.flatten(1, 2) @ weight.transpose(1, 2)  # (K, R * B, out)
        dot = dot + (through.view_as(d) * d).sum(dim=(2, 3))
        square = square + (alike * (a @ a.transpose(2, 3))).sum(dim=(2, 3))
    if bias is not None:
        dot = dot + (d * bias[:, None, None]).sum(dim=(2, 3))
        square = square + alike.sum(dim=(2, 3))
    return dot, square
