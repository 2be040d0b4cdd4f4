"""Repeat the client's step on guessed records: the attacker's copy of the model.

One step of mean cross-entropy at the released parameters. It does not unroll several
local steps, and it never touches the observed model: the copy has dropout off (the
client's mask is unknown) and, in training mode, batch norm on batch statistics.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


@dataclass(frozen=True, slots=True)
class Replay:
    """A frozen copy of the released model that yields gradients of guesses.

    `weights` are the parameters whose gradient was observed, `fixed` all other
    parameters and the buffers.
    """

    module: nn.Module
    weights: dict[str, Tensor]
    fixed: dict[str, Tensor]

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the released model, differentiable in the inputs."""
        return self._forward(self.weights, inputs)

    def logits(self, inputs: Tensor) -> Tensor:
        """Run the released model: (B, *input_shape) to (B, classes)."""
        with torch.no_grad():
            return self._forward(self.weights, inputs)

    def loss(
        self, weights: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> Tensor:
        """Mean cross-entropy against class probabilities (B, classes)."""
        return functional.cross_entropy(self._forward(weights, inputs), targets)

    def loss_gradient(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the gradient of `loss`, always differentiable, also under vmap."""
        found: dict[str, Tensor] = torch.func.grad(self.loss)(
            self.weights, inputs, targets
        )
        return found

    def gradient(
        self, inputs: Tensor, targets: Tensor, *, differentiable: bool
    ) -> dict[str, Tensor]:
        """Return the gradient of `loss` by parameter name.

        Args:
            inputs: guessed records, (B, *input_shape).
            targets: class probabilities, (B, classes).
            differentiable: keep the graph, so that guesses can be improved.
        """
        weights = {
            name: w.detach().requires_grad_(True) for name, w in self.weights.items()
        }
        with torch.enable_grad():
            grads = torch.autograd.grad(
                self.loss(weights, inputs, targets),
                list(weights.values()),
                create_graph=differentiable,
                materialize_grads=True,
            )
        return dict(zip(weights, grads, strict=True))

    def _forward(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        state = {**self.fixed, **weights}
        output = torch.func.functional_call(self.module, state, (inputs,))
        if not isinstance(output, Tensor):
            raise TypeError(
                f"The model returned {type(output).__name__}; attacks need a module "
                "that returns its logits as one tensor."
            )
        return output


def replay_of(model: nn.Module, observed: Mapping[str, Tensor]) -> Replay:
    """Copy `model` so that gradients of the `observed` parameters can be replayed.

    Guarantee: nothing that is done with the result changes `model`.
    """
    module = copy.deepcopy(model)
    if module.training:
        torch.func.replace_all_batch_norm_modules_(module)
        for part in module.modules():
            if isinstance(part, _DROPOUTS):
                part.eval()
    module.requires_grad_(False)
    state = {name: p.detach() for name, p in module.named_parameters()}
    weights = {name: state.pop(name) for name in observed}
    return Replay(module, weights, {**state, **dict(module.named_buffers())})
