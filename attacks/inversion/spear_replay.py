"""What a model says about a layer's outputs: their gradient, class by class.

Two uses. A probe tells whether a layer is followed by a ReLU, whatever way the model
spells it: the gradient with respect to an output then vanishes exactly where the
output is not positive. And the gradient of a recovered record under each class tells
which class it was trained with.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.inversion.layers import LinearSite
from attacks.inversion.replay import replay_of
from attacks.observation import Observation

_PROBES = 64
_FLOWS = 0.5  # of the positive outputs must have a gradient; later layers may be off


def double_twin(model: nn.Module) -> nn.Module:
    """Return a copy of the model in float64, with dropout off."""
    return replay_of(copy.deepcopy(model).double(), {}).module


def output_gradients(
    twin: nn.Module, site: LinearSite, inputs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a layer's outputs and the loss gradient with respect to them.

    Args:
        twin: a model that may be run at will.
        site: the layer.
        inputs: (B, *input_shape).
        labels: int64 (B,); the loss is the sum over the records.

    Returns:
        Two tensors (B, m).
    """
    seen: list[Tensor] = []

    def cut(part: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # A clone, so that a ReLU in place does not overwrite what is looked at.
        seen.append(output.detach().requires_grad_(True))
        return seen[-1].clone()

    handle = twin.get_submodule(_module_name(site)).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            loss = functional.cross_entropy(twin(inputs), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, seen[:1])
    finally:
        handle.remove()
    return seen[0].detach(), gradient


def feeds_relu(seen: Observation, site: LinearSite) -> bool:
    """Tell by a probe whether the layer's outputs go through a ReLU and no other way.

    Guarantee: False for any model in which an output that is not positive has a
    gradient on one of the probes.
    """
    twin = double_twin(seen.model)
    anchor = next(twin.parameters())
    generator = torch.Generator().manual_seed(0)
    shape = (_PROBES, *seen.input_shape)
    probes = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.arange(_PROBES) % seen.classes
    outputs, gradient = output_gradients(
        twin, site, probes.to(anchor.device), labels.to(anchor.device)
    )
    on = outputs > 0
    if not bool(on.any()) or bool(on.all()):
        return False
    leaks = bool((gradient[~on] != 0).any())
    return not leaks and float((gradient[on] != 0).double().mean()) >= _FLOWS


def labels_of(
    seen: Observation, site: LinearSite, inputs: Tensor, deltas: Tensor
) -> Tensor:
    """Return the class under which each record's output gradient fits best.

    Args:
        seen: whose model is asked.
        site: the layer.
        inputs: recovered records, float64 (b, *input_shape).
        deltas: recovered gradients with respect to the layer's outputs, (m, b).

    Returns:
        int64 (b,).
    """
    twin = double_twin(seen.model)
    fits = []
    for label in range(seen.classes):
        labels = torch.full((len(inputs),), label, device=inputs.device)
        _, gradient = output_gradients(twin, site, inputs, labels)
        fits.append(functional.cosine_similarity(gradient, deltas.T, dim=1))
    return torch.stack(fits).argmax(dim=0)


def replayed_sine(seen: Observation, inputs: Tensor, labels: Tensor) -> float:
    """Return the sine of the angle between the replayed and the observed gradient.

    It ignores a positive factor, because clipping rescales an honest gradient; a
    gradient that points the other way gets one.
    """
    observed = dict(seen.gradient or {})
    replay = replay_of(copy.deepcopy(seen.model).double(), observed)
    one_hot = functional.one_hot(labels, seen.classes).to(inputs)
    replayed = replay.gradient(inputs, one_hot, differentiable=False)
    guess = torch.cat([replayed[name].flatten() for name in observed])
    target = torch.cat([g.double().flatten() for g in observed.values()])
    scale = (guess @ target) / (guess @ guess).clamp_min(1e-300)
    if not scale > 0:
        return 1.0
    return float((target - scale * guess).norm() / target.norm())


def _module_name(site: LinearSite) -> str:
    return site.weight.removesuffix("weight").removesuffix(".")
