"""Train over clients with Flower, keep what an audit needs, and say how to audit it.

Run it in an empty folder: ``python audit_flower.py``; it needs ``flwr[simulation]``.
The model that Flower ends with is saved by torch, and the records of all clients are
its members.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from sklearn.datasets import load_digits
from torch import nn

CLIENTS, ROUNDS, EPOCHS = 5, 10, 3

client_app, server_app = ClientApp(), ServerApp()


class Net(nn.Sequential):
    """A perceptron for digits of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return records in [0, 1], their labels, and a coin for each."""
    x, y = load_digits(return_X_y=True)
    coins = np.random.default_rng(0).integers(0, 2, len(x)).astype(bool)
    return (x / 16).astype(np.float32), y, coins


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train some epochs on this client's share of the members."""
    x, y, coins = split()
    own = np.flatnonzero(coins)[int(context.node_config["partition-id"]) :: CLIENTS]
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    records, labels = torch.from_numpy(x[own]), torch.from_numpy(y[own])
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(own)).split(16):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(records[rows]), labels[rows])
            loss.backward()
            optimiser.step()
    content = RecordDict(
        {
            "arrays": ArrayRecord(net.state_dict()),
            "metrics": MetricRecord({"num-examples": len(own)}),
        }
    )
    return Message(content, reply_to=message)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Average for some rounds, then save the model that results."""
    del context
    torch.manual_seed(0)
    strategy = FedAvg(
        fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS
    )
    result = strategy.start(
        grid,
        ArrayRecord(Net().state_dict()),
        num_rounds=ROUNDS,
        train_config=ConfigRecord({}),
    )
    torch.save(result.arrays.to_torch_state_dict(), "flower.pt")


def main() -> None:
    run_simulation(
        server_app,
        client_app,
        CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    if not Path("flower.pt").exists():
        raise SystemExit("Flower ended without a model; see what it printed.")
    x, y, coins = split()
    np.savez("members.npz", x=x[coins], y=y[coins])
    np.savez("nonmembers.npz", x=x[~coins], y=y[~coins])
    print(
        "blindsum audit-model --model flower.pt --arch audit_flower:Net "
        "--members members.npz --nonmembers nonmembers.npz --coins"
    )


if __name__ == "__main__":
    main()
