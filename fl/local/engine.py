"""How a model's training is stacked over clients, and why that way.

    by hand   matrix products over all clients, for the layers of `fl.local.layers`
    vmap      torch.func.vmap over the forward pass: any pure function of the records
    loop      one client after the other: what cannot be stacked

A model of unknown make is tried on made-up records first: stacked and filled up it must
give the gradients that it gives alone. A model that raises there, draws at random or
mixes the records of a batch is trained by the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fl.local import autodiff, byhand
from fl.local.autodiff import by_vmap, lent
from fl.local.examples import Examples, examples_by_hand, examples_by_vmap
from fl.local.slopes import Slope
from fl.local.thread import one_thread
from fl.local.translate import Image, images_of, layers_of, takes_images

Slopes = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor], Sequence[Slope]]

# Sequences of these are stacked without a trial: a record's output depends on that
# record alone, and vmap knows them all.
KNOWN = (
    nn.AvgPool2d,
    nn.Conv1d,
    nn.Conv2d,
    nn.Flatten,
    nn.GELU,
    nn.GroupNorm,
    nn.Identity,
    nn.LayerNorm,
    nn.LeakyReLU,
    nn.Linear,
    nn.MaxPool2d,
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
# Activations of one client's step up to which vmap was faster than the loop for small
# convolutional nets: 1.2 to 2 times at 1 MiB and below, 0.9 times at 3 MiB.
WORTH_STACKING = 2 * 2**20
_SAVED: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()
MIXES = "filling up a batch changes its gradients: it mixes the records of a batch"
# Characters of somebody else's error that are repeated.
SAID_MAX = 80
# Float32 sums in another order, relative to the largest gradient.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Engine:
    """How a model is stacked, and the reason in a few words.

    Attributes:
        name: see the module.
        why: it and no faster one.
        images: per parameter, the image that its inputs are; the stack then holds it
            with channels last. Empty where it is held as torch does.
        mixes: a trial has shown that a record's gradient depends on others of its
            batch, so that no privacy per record can be had.
    """

    name: Literal["by hand", "vmap", "loop"]
    why: str
    images: tuple[Image | None, ...] = ()
    mixes: bool = False


@one_thread()
def engine_for(
    model: nn.Module, input_shape: tuple[int, ...], *, batch_size: int = 1
) -> Engine:
    """Return how the training of ``model`` is stacked over clients.

    Guarantee: it depends on the model and the sizes alone, never on what anybody's
    records are. The model and torch's global generator are left as they were.

    Args:
        model: on the CPU.
        input_shape: of one record.
        batch_size: records per step of the client that has most.
    """
    reason = _refused(model)
    if reason is not None:
        return Engine("loop", reason)
    layers = layers_of(model)
    if layers is not None and (len(input_shape) == 3 or not takes_images(layers)):
        why = "a sequence of layers that are batched by hand"
        return Engine("by hand", why, images_of(layers, input_shape))
    known = _known(model)
    reason = None if known else _tried(model, input_shape)
    if reason is not None:
        return Engine("loop", reason, mixes=reason == MIXES)
    if batch_size * saved_bytes(model, input_shape) > WORTH_STACKING:
        return Engine("loop", "one step is so large that stacking would slow it down")
    if known:
        return Engine("vmap", "a sequence of known layers")
    return Engine("vmap", "tried: stacked it gives the gradients that it gives alone")


def slopes_of(model: nn.Module, engine: Engine) -> Slopes:
    """Return the function (parameters, x, y, weights) -> slopes of a stack.

    Args:
        model: says the shape of the computation.
        engine: as `engine_for` found it; "loop" takes stacks of one client, and the
            model must be lent (`fl.local.autodiff.lent`).
    """
    layers = layers_of(model) if engine.name == "by hand" else None
    if layers is not None:
        return partial(byhand.slopes, layers)
    if engine.name == "loop":
        return partial(autodiff.alone, model)
    return partial(autodiff.gradients, by_vmap(model))


def examples_of(model: nn.Module, engine: Engine) -> Examples:
    """Return the function that computes per-example gradients of a stack.

    Args:
        model: as for `slopes_of`.
        engine: "by hand" or "vmap".
    """
    layers = layers_of(model) if engine.name == "by hand" else None
    if layers is None:
        return examples_by_vmap(by_vmap(model))
    return examples_by_hand(layers)


def saved_bytes(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the bytes that the backward pass of one record keeps, less parameters.

    Measured once for a model and a shape: it estimates memory, and nothing else.
    """
    known = _SAVED.setdefault(model, {})
    if input_shape not in known:
        known[input_shape] = _saved_bytes(model, input_shape)
    return known[input_shape]


@one_thread()
def _saved_bytes(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        if tensor.data_ptr() not in own:
            kept += tensor.numel() * tensor.element_size()
        return tensor

    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        model(torch.zeros(1, *input_shape))
    return kept


def _refused(model: nn.Module) -> str | None:
    """Return what in the model's make-up forbids stacking, or None."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return f"layer {name} is dropout: it draws from each client's own generator"
        if any(getattr(module, hooks, None) for hooks in _HOOKS):
            return f"layer {name} has hooks, which see one client at a time"
        if "forward" in vars(module):
            return f"layer {name} has a forward pass that was put in its place"
    uses = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if len(uses) > len(list(model.parameters())):
        return "it uses one parameter in several places, which vmap cannot swap"
    if next(model.buffers(), None) is not None:
        return "it has buffers, which one forward pass would change for all clients"
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            return f"parameter {name} has hooks, which see one client at a time"
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            return f"parameter {name} is {parameter.dtype} or frozen"
    return None


def _known(model: nn.Module) -> bool:
    if type(model) is nn.Sequential:
        return all(_known(layer) for layer in model)
    return type(model) in KNOWN


def _tried(model: nn.Module, input_shape: tuple[int, ...]) -> str | None:
    """Return how a trial of two clients went wrong, or None."""
    was_training = model.training
    model.train()
    draws = torch.Generator().manual_seed(0)
    x = torch.rand((2, 3, *input_shape), generator=draws)
    y = torch.zeros((2, 3), dtype=torch.int64)
    weights = torch.tensor([[0.5, 0.5, 0.0]] * 2)
    stack = [torch.stack([p.detach(), 0.9 * p.detach()]) for p in model.parameters()]
    try:
        with torch.random.fork_rng(devices=[]), lent(model):
            together = [
                slope.dense()
                for slope in autodiff.gradients(by_vmap(model), stack, x, y, weights)
            ]
            single = [
                autodiff.alone(
                    model,
                    [p[i : i + 1] for p in stack],
                    x[i : i + 1, :2],
                    y[i : i + 1, :2],
                    weights[i : i + 1, :2],
                )
                for i in range(2)
            ]
    except Exception as error:  # the user's forward may raise anything
        said = next(iter(str(error).splitlines()), "")[:SAID_MAX]
        return f"vmap cannot run it ({type(error).__name__}: {said})"
    finally:
        model.train(was_training)
    wanted = [
        torch.cat([one.dense(), two.dense()]) for one, two in zip(*single, strict=True)
    ]
    scale = max(float(one.abs().max()) for one in wanted)
    gaps = [
        float((one - two).abs().max())
        for one, two in zip(wanted, together, strict=True)
    ]
    # Written so that a NaN counts as a difference.
    if all(gap <= _TOLERANCE * scale for gap in gaps):
        return None
    return MIXES
