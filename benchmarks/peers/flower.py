"""Flower's simulation of the same round: its own engine (Ray), FedAvg and messages.

Every client caches its model and records and trains by our plain loop, so that the
difference is Flower's own. The first round, which starts Ray's workers, is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.digits import CLIENTS, by_loop, members, start
from fl.models import load_vector, to_vector

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Context, Message, MetricRecord
    from flwr.serverapp import Grid

    from fl.local import Member

LIMIT_S = 240


@dataclass(frozen=True, slots=True)
class Rounds:
    """What Flower did: ms per warm round, and the model after the first round."""

    ms: np.ndarray
    first: np.ndarray


def run(rounds: int) -> Rounds | str:
    """Run Flower in its own process; return its rounds, or why there are none."""
    if any(importlib.util.find_spec(name) is None for name in ("flwr", "ray")):
        return "not installed (pip install 'blindsum[flower]')"
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rounds.npz"
        # Imported, not run as __main__, which Ray's workers could not import again.
        code = "import sys; from benchmarks.peers import flower; flower.simulate("
        code += "sys.argv[1], int(sys.argv[2]))"
        command = [sys.executable, "-c", code, str(out), str(rounds)]
        try:
            done = subprocess.run(
                command,
                env=os.environ | quiet | {"PYTHONPATH": os.getcwd()},
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return f"did not finish within {LIMIT_S} s"
        if not out.exists():
            said = done.stderr.strip().splitlines()
            return f"failed: {said[-1] if said else 'no message'}"
        with np.load(out, allow_pickle=False) as saved:
            return Rounds(ms=saved["ms"], first=saved["first"])


@cache
def _kept() -> tuple[torch.nn.Module, list[Member]]:
    torch.set_num_threads(1)
    return start("mlp"), members()


def _train(message: Message, context: Context) -> Message:
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

    net, clients = _kept()
    before = message.content.array_records["arrays"]["model"].numpy()
    load_vector(net, before)
    mine = clients[int(context.node_config["partition-id"])]
    change = by_loop(net, [mine], 1)[0]
    content = RecordDict(
        {
            "arrays": ArrayRecord({"model": Array(before + change)}),
            "metrics": MetricRecord({"num-examples": len(mine[1])}),
        }
    )
    return Message(content, reply_to=message)


def simulate(out: str, rounds: int) -> None:
    """Run Flower here, one round more than asked, and write what `run` reads."""
    from flwr.app import Array, ArrayRecord
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    marks: list[float] = []
    models: list[np.ndarray] = []

    def mark(_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        marks.append(time.perf_counter())
        models.append(arrays["model"].numpy())
        return None

    server, client = ServerApp(), ClientApp()

    @server.main()
    def serve(grid: Grid, _context: Context) -> None:
        # Both minima: fraction_train alone counts the nodes before all have joined.
        strategy = FedAvg(
            fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS
        )
        first = ArrayRecord({"model": Array(to_vector(start("mlp")))})
        strategy.start(grid, first, num_rounds=rounds + 1, evaluate_fn=mark)

    client.train()(_train)
    run_simulation(
        server,
        client,
        CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    # marks: before the first round, after the first, after each warm one.
    np.savez(out, ms=np.diff(marks)[1:] * 1e3, first=models[1])
