"""Train a plain torch model, keep what an audit needs, and say how to audit it.

Run it in an empty folder: ``python audit_torch.py``. A fair coin for each record says
whether it is trained on, so that a lower bound on epsilon can be measured, too.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

EPOCHS = 40


class Net(nn.Sequential):
    """A perceptron for digits of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return records in [0, 1], their labels, and a coin for each."""
    x, y = load_digits(return_X_y=True)
    coins = np.random.default_rng(0).integers(0, 2, len(x)).astype(bool)
    return (x / 16).astype(np.float32), y, coins


def trained(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Net:
    """Train with Adam on batches of 32."""
    torch.manual_seed(seed)
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    records, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(records)).split(32):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(records[rows]), labels[rows])
            loss.backward()
            optimiser.step()
    return net


def main() -> None:
    x, y, coins = split()
    torch.save(trained(x[coins], y[coins]).state_dict(), "net.pt")
    np.savez("members.npz", x=x[coins], y=y[coins])
    np.savez("nonmembers.npz", x=x[~coins], y=y[~coins])
    print(
        "blindsum audit-model --model net.pt --arch audit_torch:Net "
        "--members members.npz --nonmembers nonmembers.npz --coins"
    )


if __name__ == "__main__":
    main()
