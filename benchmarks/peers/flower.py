"""Flower's simulation of the same rounds: its own engine (Ray), FedAvg and messages.

Ray starts once for all workloads, with one worker to a core. Each worker keeps every
client's records and the net ready and trains by our fastest plain loop, so that the
difference is Flower's own.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.peers.asking import Ask, MissingError, answer, asking
from benchmarks.peers.loop import Loop
from benchmarks.work import Rounds, load_work, rounds_of

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Context, Message, MetricRecord
    from flwr.serverapp import Grid

_QUIET = {
    "FLWR_LOG_LEVEL": "ERROR",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextmanager
def started(clients: int) -> Iterator[Ask]:
    """Start Flower in a process of its own, for `asking`'s function.

    Args:
        clients: of every workload that it will be asked for.

    Raises:
        MissingError: it is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in ("flwr", "ray")):
        raise MissingError("not installed (pip install 'blindsum[flower]')")
    # Imported, not run as __main__, which Ray's workers could not import again.
    code = "import sys; from benchmarks.peers import flower; "
    code += "flower.simulate(int(sys.argv[1]))"
    with asking([sys.executable, "-P", "-c", code, str(clients)], _QUIET) as ask:
        yield ask


@lru_cache(maxsize=1)
def _kept(path: str, _written: int) -> Loop:
    torch.set_num_threads(1)
    return Loop(load_work(Path(path)))


def _train(message: Message, context: Context) -> Message:
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

    config = message.content.config_records["config"]
    loop = _kept(str(config["work"]), int(config["written"]))
    before = torch.from_numpy(message.content.array_records["arrays"]["model"].numpy())
    client = int(context.node_config["partition-id"])
    trained = loop.train(before, client).numpy()
    content = RecordDict(
        {
            "arrays": ArrayRecord({"model": Array(trained)}),
            "metrics": MetricRecord({"num-examples": len(loop.y[client])}),
        }
    )
    return Message(content, reply_to=message)


def simulate(clients: int) -> None:
    """Run Flower here and answer on the standard output."""
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    server, client = ServerApp(), ClientApp()

    @server.main()
    def serve(grid: Grid, _context: Context) -> None:
        answer(lambda path, rounds: _rounds(grid, path, rounds))

    client.train()(_train)
    run_simulation(
        server,
        client,
        clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


def _rounds(grid: Grid, path: Path, rounds: int) -> Rounds:
    """Train one round more than asked; the first warms up."""
    from flwr.app import Array, ArrayRecord, ConfigRecord
    from flwr.serverapp.strategy import FedAvg

    work = load_work(path)
    marks: list[float] = []
    models: list[np.ndarray] = []

    def mark(_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        marks.append(time.perf_counter())
        models.append(arrays["model"].numpy())
        return None

    # Both minima: fraction_train alone counts the nodes before all have joined.
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=len(work.y),
        min_available_nodes=len(work.y),
    )
    strategy.start(
        grid,
        ArrayRecord({"model": Array(work.before)}),
        num_rounds=rounds + 1,
        train_config=ConfigRecord(
            {"work": str(path), "written": path.stat().st_mtime_ns}
        ),
        evaluate_fn=mark,
    )
    if np.array_equal(models[-1], work.before):
        raise RuntimeError("no client of Flower's answered")
    # The model before the first round is marked too.
    return rounds_of(marks, models[1:])
