"""The training loop: rounds under one protection and one seed, and the record of them.

``train`` yields nothing half-way: it hands each finished round to ``on_round`` (the run
folder's log) and returns a record that nothing downstream changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import secagg
from fl.config import Config
from fl.errors import UserError
from fl.federation import Federation
from fl.local import evaluate
from fl.models import build, parameter_count, to_vector
from fl.progress import Task
from fl.round import Snapshot, run_one
from fl.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round did, in numbers; bytes and seconds are means per client.

    An aborted round (too few clients were left) changes no model and sends no sum;
    its bytes and seconds are not counted. ``bytes_down`` includes the released model.
    """

    index: int
    aborted: bool
    accuracy: float
    loss: float
    survivors: int = 0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    max_error: float = 0.0


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
        UserError: more clients vanished in every round than the plan survives.
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
    due, failure = False, None
    for index in range(config.training.rounds):
        due = due or index in keep
        aggregate = None
        try:
            snapshot = run_one(
                model, federation, aggregator, config, seed=seed, index=index
            )
            aggregate = snapshot.aggregate
            if due:  # a kept round that was aborted is made up for by the next one
                snapshots.append(snapshot)
                due = False
        except secagg.AbortError as error:
            failure = error
        rounds.append(_record(model, federation, aggregate, index))
        on_round(protection, seed, rounds[-1])
        task.advance(f"accuracy {rounds[-1].accuracy:.3f}")
    if not snapshots and failure is not None:
        raise _too_few(failure, config, protection) from failure
    return RunRecord(
        protection=protection,
        seed=seed,
        rounds=tuple(rounds),
        snapshots=tuple(snapshots),
        final=to_vector(model),
        correct=federation.held_out.correct(model),
        seconds=time.perf_counter() - began,
    )


def _too_few(error: secagg.AbortError, config: Config, protection: str) -> UserError:
    planned = config.federation.drop
    return UserError(
        f"no round under {protection} could be finished: the last was aborted at "
        f"{error.step}, where {error.have} of the {error.need} clients that the plan "
        f"needs were left; raise federation.drop above {planned} or lower "
        f"federation.dropout."
    )


def _record(
    model: torch.nn.Module,
    federation: Federation,
    aggregate: secagg.Aggregate | None,
    index: int,
) -> RoundRecord:
    accuracy, losses = evaluate(model, federation.held_out.x, federation.held_out.y)
    record = RoundRecord(
        index=index, aborted=True, accuracy=accuracy, loss=float(losses.mean())
    )
    if aggregate is None:
        return record
    model_bytes = 4 * parameter_count(model)
    return replace(
        record,
        aborted=False,
        survivors=len(aggregate.survivors),
        bytes_up=float(np.mean(list(aggregate.bytes_up.values()))),
        bytes_down=float(np.mean(list(aggregate.bytes_down.values()))) + model_bytes,
        client_cpu_s=aggregate.client_cpu_s,
        server_cpu_s=aggregate.server_cpu_s,
        max_error=aggregate.max_error,
    )
