"""The training loop: rounds under one protection and one seed, and the record of them.

``train`` yields nothing half-way: it hands each finished round to ``on_round`` (the run
folder's log) and returns a record that nothing downstream changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import secagg
from fl.config import Config
from fl.errors import UserError
from fl.federation import Federation
from fl.local import evaluate
from fl.models import build, load_vector, to_vector
from fl.progress import Task
from fl.round import Snapshot, run_one
from fl.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round did, in numbers; bytes and seconds are means per client."""

    index: int
    accuracy: float
    loss: float
    survivors: int
    bytes_up: float
    bytes_down: float
    client_cpu_s: float
    server_cpu_s: float
    max_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One federated training run.

    Attributes:
        protection: its name.
        seed: everything random in the run follows from it (a simulation).
        rounds: one record per round.
        snapshots: the rounds kept whole for the audit.
        final: the released model, (parameters,) float32.
        correct: per held-out record, whether the released model is right.
        seconds: wall time of the training.
    """

    protection: str
    seed: int
    rounds: tuple[RoundRecord, ...]
    snapshots: tuple[Snapshot, ...]
    final: NDArray[np.float32]
    correct: NDArray[np.bool_]
    seconds: float


def train(
    federation: Federation,
    aggregator: secagg.Aggregator,
    config: Config,
    *,
    protection: str,
    seed: int,
    keep: Collection[int],
    task: Task,
    on_round: Callable[[str, int, RoundRecord], None],
) -> RunRecord:
    """Train for the configured rounds and return the record.

    Args:
        federation: the clients' prepared data.
        aggregator: how updates are summed.
        config: the resolved configuration.
        protection: its name, for the record.
        seed: of this repetition.
        keep: indices of the rounds to keep whole.
        task: advanced once a round.
        on_round: told of each finished round (protection, seed, record).

    Raises:
        UserError: more clients vanished in a round than the plan survives.
    """
    began = time.perf_counter()
    model = build(
        config.model,
        federation.input_shape,
        federation.classes,
        seed_for(seed, "model"),
    )
    rounds: list[RoundRecord] = []
    snapshots: list[Snapshot] = []
    x, y = federation.held_out.x, federation.held_out.y
    for index in range(config.training.rounds):
        try:
            snapshot = run_one(
                model, federation, aggregator, config, seed=seed, index=index
            )
        except secagg.AbortError as error:
            raise _too_few(error, config, protection, index) from error
        accuracy, losses = evaluate(model, x, y)
        record = _summarise(snapshot.aggregate, index, accuracy, float(losses.mean()))
        rounds.append(record)
        if index in keep:
            snapshots.append(snapshot)
        on_round(protection, seed, record)
        task.advance(f"accuracy {accuracy:.3f}")
    final = to_vector(model)
    load_vector(model, final)
    return RunRecord(
        protection=protection,
        seed=seed,
        rounds=tuple(rounds),
        snapshots=tuple(snapshots),
        final=final,
        correct=federation.held_out.correct(model),
        seconds=time.perf_counter() - began,
    )


def _too_few(
    error: secagg.AbortError, config: Config, protection: str, index: int
) -> UserError:
    planned = config.federation.drop
    return UserError(
        f"round {index + 1} under {protection} was aborted at {error.step}: "
        f"{error.have} of the {error.need} clients that the plan needs were left; "
        f"raise federation.drop above {planned} or lower federation.dropout."
    )


def _summarise(
    aggregate: secagg.Aggregate, index: int, accuracy: float, loss: float
) -> RoundRecord:
    return RoundRecord(
        index=index,
        accuracy=accuracy,
        loss=loss,
        survivors=len(aggregate.survivors),
        bytes_up=float(np.mean(list(aggregate.bytes_up.values()))),
        bytes_down=float(np.mean(list(aggregate.bytes_down.values()))),
        client_cpu_s=aggregate.client_cpu_s,
        server_cpu_s=aggregate.server_cpu_s,
        max_error=aggregate.max_error,
    )
