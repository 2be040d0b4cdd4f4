"""pfl-research's simulation of the same rounds, in one process or in several.

`SimulatedBackend`, `PyTorchModel` with plain SGD, `FederatedAveraging`. Every client's
dataset is built once and keeps its batches; no round that counts evaluates anything,
no metric is kept, no postprocessor runs, and the only callback is the clock. pfl does
not shuffle: each client's records are handed to it in the order of their batches.
Several processes share the clients, each with one thread, and add up by torch's
collectives, as pfl's guide to fast simulations has it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import nets
from benchmarks.peers.asking import Ask, answer, asking
from benchmarks.peers.environment import python_of
from benchmarks.work import LEARNING_RATE, Rounds, Work, load_work, rounds_of

# pfl wants a dp-accounting older than ours.
REQUIREMENTS = (
    "pfl==0.6.0",
    "dp-accounting==0.5.1",
    "prv-accountant==0.2.0",
    "multiprocess==0.70.19",
)


@contextmanager
def started(processes: int) -> Iterator[Ask]:
    """Start pfl in an environment of its own, for `asking`'s function.

    Args:
        processes: that share the clients.

    Raises:
        MissingError: it could not be installed.
    """
    python = python_of("pfl", REQUIREMENTS)
    env = {}
    if processes > 1:
        places = ",".join(f"127.0.0.1:{_free_port()}" for _ in range(processes))
        env = {"PFL_WORKER_ADDRESSES": places, "PFL_WORKER_RANK": "0"}
    command = [python, "-P", "-m", "benchmarks.peers.pfl_research", str(processes)]
    with asking(command, env) as ask:
        yield ask


class _Net(nn.Module):
    """What pfl asks of a module: a loss, and no metrics."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = nets.build(name)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.net(x), y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, float]:
        return {}


def _datasets(work: Work) -> Any:
    from pfl.data import FederatedDataset
    from pfl.data.dataset import Dataset
    from pfl.data.sampling import get_user_sampler

    x, y, rows = map(
        torch.from_numpy, (work.x, work.y, work.rows.reshape(len(work.y), -1))
    )
    users = [
        Dataset((x[user][rows[user]], y[user][rows[user]])) for user in range(len(y))
    ]
    sampler = get_user_sampler("minimize_reuse", list(range(len(users))))
    return FederatedDataset(lambda user: users[user], sampler)


def run(path: Path, rounds: int) -> Rounds:
    """Train one round more than asked; the first warms up."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    torch.set_num_threads(1)
    np.random.seed(0)  # pfl draws the order of the clients from it
    work = load_work(path)
    net = _Net(work.net).train()
    model = PyTorchModel(
        net,
        torch.optim.SGD,
        central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
    )
    marks: list[float] = []
    models: list[np.ndarray] = []

    class Clock(TrainingProcessCallback):  # type: ignore[misc]
        def on_train_begin(self, *, model: Any) -> Any:
            marks.append(time.perf_counter())
            return Metrics()

        def after_central_iteration(self, *_: Any, **__: Any) -> Any:
            marks.append(time.perf_counter())
            parts = [p.detach().reshape(-1) for p in net.parameters()]
            models.append(torch.cat(parts).numpy())
            return False, Metrics()

    data = _datasets(work)
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds + 1,
            evaluation_frequency=rounds + 1,  # so the round that warms up, no other
            train_cohort_size=len(work.y),
            val_cohort_size=0,
        ),
        SimulatedBackend(data, data),
        model,
        NNTrainHyperParams(
            local_batch_size=work.rows.shape[2],
            local_num_epochs=1,  # the records are laid out for all epochs
            local_learning_rate=LEARNING_RATE,
        ),
        callbacks=[Clock()],
        send_metrics_to_platform=False,
    )
    return rounds_of(marks, models)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def _follow() -> None:
    """Run what the first process runs, as the process of another rank."""
    for line in sys.stdin:
        path, rounds = json.loads(line)
        run(Path(path), rounds)


def _lead(processes: int) -> None:
    """Start the other processes, and answer for all of them."""
    module = [sys.executable, "-P", "-m", "benchmarks.peers.pfl_research", "0"]
    others = [
        subprocess.Popen(
            module,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PFL_WORKER_RANK": str(rank)},
        )
        for rank in range(1, processes)
    ]

    def together(path: Path, rounds: int) -> Rounds:
        for other in others:
            print(json.dumps([str(path), rounds]), file=other.stdin, flush=True)
        return run(path, rounds)

    answer(together)
    for other in others:
        other.communicate(timeout=20)


if __name__ == "__main__":
    processes = int(sys.argv[1])
    _lead(processes) if processes else _follow()
