"""Repeat several local steps of a client on guessed records, differentiably.

The update of local SGD is a function of the records like a gradient is: the steps are
run one after the other from the released weights, each on its own batch at the weights
that the earlier ones led to (Dimitrov et al., TMLR 2022, arXiv 2206.12395; Geiping et
al., arXiv 2003.14053, section 6). Clients with Adam or with clipping between the steps
are not here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.inversion.replay import Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSGD:
    """How a client trains between two uploads.

    Attributes:
        steps: how many.
        lr: learning rate.
        momentum: of the heavy ball, from zero at the first step.
    """

    steps: int
    lr: float
    momentum: float = 0.0


def unrolled(
    replay: Replay, training: LocalSGD
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Return the function from records to the update that training on them gives.

    Guarantee: at the client's records, in the client's order, it is the observed update
    up to rounding; differentiable, also under `torch.func.vmap`.

    Args:
        replay: the attacker's copy of the model.
        training: the client's local steps.

    Returns:
        From (steps * B, *shape) and (steps * B, classes), batch after batch, to
        `(before - after) / (lr * steps)` by parameter name.
    """
    slope = torch.func.grad(replay.loss)

    def update(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        weights = dict(replay.weights)
        pace = {name: torch.zeros_like(w) for name, w in weights.items()}
        batches, classes = (
            torch.tensor_split(each, training.steps) for each in (inputs, labels)
        )
        for step in range(training.steps):
            gradient = slope(weights, batches[step], classes[step])
            pace = {
                name: training.momentum * pace[name] + gradient[name] for name in pace
            }
            weights = {
                name: w - training.lr * pace[name] for name, w in weights.items()
            }
        total = training.lr * training.steps
        return {
            name: (before - weights[name]) / total
            for name, before in replay.weights.items()
        }

    return update
