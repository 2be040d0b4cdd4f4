"""A plain chain of layers, taken apart for recursion from its end to its start.

A chain is an `nn.Sequential` of convolutions and linear layers with invertible
activations between them and flattening anywhere. Each stage knows the linear system
that its input solves once its output and its delta (the loss gradient at its output)
are known: `W x + b = z` (weight constraints) and "the weight gradient of x and delta is
G" (gradient constraints) (Zhu and Blaschko, ICLR 2021, arXiv 2010.07733, section 3).

Not here: pooling, normalisation, branches, ReLU (its inverse is not a function).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_CHUNK = 256  # unit vectors pushed through a convolution at once


@dataclass(frozen=True, slots=True)
class Bend:
    """An invertible activation y = apply(z).

    Inverse and derivative are functions of the output: z = back(y), dy/dz = slope(y).
    """

    apply: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Stage:
    """One layer (double precision), the activation behind it, and its input's shape."""

    name: str
    layer: nn.Conv2d | nn.Linear
    bend: Bend
    shape: tuple[int, ...]

    @property
    def unknowns(self) -> int:
        """Entries of the input."""
        return int(torch.Size(self.shape).numel())

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the linear part without its bias to (n, *shape)."""
        with torch.no_grad():
            whole: Tensor = self.layer(inputs)
            zero: Tensor = self.layer(torch.zeros_like(inputs[:1]))
        return whole - zero

    def offset(self) -> Tensor:
        """Return the bias as the layer adds it, without the batch axis."""
        with torch.no_grad():
            whole: Tensor = self.layer(torch.zeros((1, *self.shape)).double())
        return whole[0]

    def pull_back(self, delta: Tensor) -> Tensor:
        """Carry a delta at the output (without batch axis) back to the input."""
        inputs = torch.zeros((1, *self.shape), dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            out = self.layer(inputs)
            (back,) = torch.autograd.grad(out, inputs, delta.reshape(out.shape))
        return back[0]

    def weight_gradient(self, inputs: Tensor, delta: Tensor) -> Tensor:
        """Return one weight gradient per input (n, *shape): (n, weights)."""
        if isinstance(self.layer, nn.Linear):
            return torch.einsum("ni,o->noi", inputs, delta).flatten(1)
        conv = self.layer
        if isinstance(conv.padding, str):
            raise TypeError("chain_of takes no convolution with padding by name.")
        cut = functional.unfold(
            inputs, conv.kernel_size, conv.dilation, conv.padding, conv.stride
        )  # (n, channels * kernel, places)
        return torch.einsum("nkp,op->nok", cut, delta.flatten(1)).flatten(1)

    def system(self, delta: Tensor) -> Tensor:
        """Return the matrix of all constraints on the flattened input.

        Rows: the weight constraints, then the gradient constraints, which are scaled to
        the weight constraints' norm (`balance` gives the factor).
        """
        unit = torch.eye(self.unknowns, dtype=torch.float64)
        weight, gradient = [], []
        for part in torch.split(unit, _CHUNK):
            inputs = part.reshape(-1, *self.shape)
            weight.append(self.forward(inputs).flatten(1))
            gradient.append(self.weight_gradient(inputs, delta))
        upper, lower = torch.cat(weight).T, torch.cat(gradient).T
        return torch.cat([upper, lower * self.balance(delta)])

    def balance(self, delta: Tensor) -> float:
        """Return the factor on the gradient constraints: |W| over |delta|."""
        size = float(self.layer.weight.detach().norm())
        return size / max(float(delta.norm()), 1e-300)


def chain_of(
    model: nn.Module, input_shape: tuple[int, ...]
) -> tuple[tuple[Stage, ...], str]:
    """Take a model apart into stages, first to last.

    Returns:
        The stages and "", or () and the reason why it is no such chain.
    """
    if not isinstance(model, nn.Sequential):
        return (), f"{type(model).__name__} is not an nn.Sequential; nothing recurs."
    stages: list[Stage] = []
    values = torch.zeros((1, *input_shape), dtype=torch.float64)
    double = copy.deepcopy(model).double().cpu().requires_grad_(False)
    for name, part in _leaves(double, ""):
        kind = type(part).__name__
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            if isinstance(part, nn.Conv2d):
                plain = part.groups == 1 and part.padding_mode == "zeros"
                if not plain or isinstance(part.padding, str):
                    return (), f"Layer {name!r}: only plain convolutions are taken."
            elif values.dim() != 2:
                return (), f"Layer {name!r} does not see a flat record."
            stages.append(Stage(name, part, _STRAIGHT, tuple(values.shape[1:])))
        elif (bend := _bend_of(part)) is not None:
            last = stages.pop() if stages else None
            if last is None or last.bend is not _STRAIGHT:
                return (), f"Activation {name!r} does not follow a layer."
            stages.append(Stage(last.name, last.layer, bend, last.shape))
        elif not isinstance(part, (nn.Flatten, nn.Identity)):
            return (), f"{kind} ({name!r}) cannot be inverted."
        with torch.no_grad():
            values = part(values)
    if not stages or not isinstance(stages[-1].layer, nn.Linear):
        return (), "The chain does not end in a linear layer."
    if stages[-1].bend is not _STRAIGHT:
        return (), "The output layer has an activation behind it."
    return tuple(stages), ""


def _leaves(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, part in model.named_children():
        if isinstance(part, nn.Sequential):
            found += _leaves(part, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", part))
    return found


_STRAIGHT = Bend(apply=lambda z: z, back=lambda y: y, slope=torch.ones_like)


def _bend_of(part: nn.Module) -> Bend | None:
    if isinstance(part, nn.LeakyReLU) and part.negative_slope > 0:
        steep = part.negative_slope
        return Bend(
            apply=part,
            back=lambda y: torch.where(y >= 0, y, y / steep),
            slope=lambda y: torch.where(y >= 0, 1.0, steep).to(y),
        )
    if isinstance(part, nn.Sigmoid):
        return Bend(apply=part, back=torch.logit, slope=lambda y: y * (1 - y))
    if isinstance(part, nn.Tanh):
        return Bend(apply=part, back=torch.atanh, slope=lambda y: 1 - y.square())
    if isinstance(part, nn.ELU):
        low = part.alpha
        return Bend(
            apply=part,
            back=lambda y: torch.where(y > 0, y, torch.log1p(y.clamp_max(0) / low)),
            slope=lambda y: torch.where(y > 0, 1.0, y + low),
        )
    if isinstance(part, nn.Softplus):
        sharp = part.beta
        return Bend(
            apply=part,
            back=lambda y: y + torch.log(-torch.expm1(-sharp * y)) / sharp,
            slope=lambda y: -torch.expm1(-sharp * y),
        )
    return None
