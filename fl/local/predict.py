"""What a model says of records, without training it: logits, accuracy, losses."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.local.thread import one_thread

# Records per forward pass; bounds memory, changes no result.
CHUNK = 2048


def predict_logits(model: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """Return the model's logits, (N, classes) float32, without training it."""
    was_training = model.training
    model.eval()
    with one_thread(), torch.no_grad():
        parts = [model(x[at : at + CHUNK]) for at in range(0, len(x), CHUNK)]
        logits = torch.cat(parts)
    model.train(was_training)
    array: NDArray[np.float32] = logits.numpy()
    return array


def evaluate(
    model: nn.Module, x: Tensor, y: Tensor
) -> tuple[float, NDArray[np.float32]]:
    """Return the accuracy and each record's cross-entropy.

    Args:
        model: left as it was.
        x: (N, *input_shape) float32, N >= 1.
        y: (N,) int64.

    Returns:
        Share of records whose largest logit is their label's, and (N,) losses in nats.
    """
    logits = torch.from_numpy(predict_logits(model, x))
    accuracy = float((logits.argmax(dim=1) == y).double().mean())
    losses: NDArray[np.float32] = cross_entropy(logits, y, reduction="none").numpy()
    return accuracy, losses
