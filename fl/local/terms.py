"""Terms beside the loss: what federated algorithms add to every local gradient.

    proximal            FedProx: stay near the model that the round began from
    control_variates    SCAFFOLD: a constant for each client against its drift

Further ones are functions of the same shape (`fl.local.optimiser.Term`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Proximal:
    """Adds mu (w - w0) (Li et al., "Federated optimization ...", MLSys 2020, eq. 2).

    Attributes:
        released: w0, (clients, *shape) for each parameter, or (1, *shape) for all.
        mu: > 0.
    """

    released: Sequence[Tensor]
    mu: float

    def __call__(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Pull towards the released model."""
        for gradient, now, before in zip(
            gradients, parameters, self.released, strict=True
        ):
            own = before if len(before) == 1 else before[: len(now)]
            gradient.add_(now - own, alpha=self.mu)


@dataclass(frozen=True, slots=True)
class ControlVariates:
    """Adds c - c_i (Karimireddy et al., "SCAFFOLD", ICML 2020, eq. 3).

    Attributes:
        corrections: c - c_i for each client of the stack, shaped like the parameters.
    """

    corrections: Sequence[Tensor]

    def __call__(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Add each client's constant."""
        for gradient, constant in zip(gradients, self.corrections, strict=True):
            gradient.add_(constant[: len(gradient)])
