"""The first round of a fresh process, and ten rounds of a large crowd."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks import nets
from benchmarks.digits import by_stack, crowd, members
from benchmarks.peers.asking import ROOT
from fl.local import Member
from fl.models import load_vector, to_vector

CROWD, CROWD_ROUNDS = 10_000, 10


def first_round_s() -> float:
    """Return how long the first stacked round (mlp, 2 steps) takes in a new process.

    From `fl.local` imported and the records and the model at hand to the mean change.
    """
    command = [sys.executable, "-c", "from benchmarks import first; first.once()"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return float(done.stdout)


def once() -> None:
    """Print the seconds of one round."""
    model, clients = nets.build("mlp"), members()
    began = time.perf_counter()
    by_stack(model, clients, 1).mean(axis=0)
    print(time.perf_counter() - began)


def crowd_s() -> float:
    """Return how long CROWD_ROUNDS rounds of CROWD clients take (mlp, 2 steps).

    All of it: drawing the clients' records and, in each round anew, their batches;
    training; the mean; the new model.
    """
    model = nets.build("mlp")
    began = time.perf_counter()
    x, y = (part.unbind() for part in crowd(CROWD))
    for number in range(CROWD_ROUNDS):
        keys = range(number * CROWD, (number + 1) * CROWD)
        clients = [Member(*one) for one in zip(x, y, keys, strict=True)]
        changes = by_stack(model, clients, 1)
        load_vector(model, to_vector(model) + changes.mean(axis=0))
    return time.perf_counter() - began
