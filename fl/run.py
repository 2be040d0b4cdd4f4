"""The training loop: rounds under one protection and one seed, and the record of them.

The ledger stands before every round: whose budget would not last takes no part. A run
is one piece of work that touches nothing outside itself, so that runs can be done side
by side; nothing downstream changes its record.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from fl import privacy
from fl.config import Config
from fl.errors import UserError
from fl.federation import Client, Federation
from fl.local import evaluate
from fl.models import build, load_vector, parameter_count, to_vector
from fl.protection import Protection
from fl.round import Snapshot, draw_cohort, released, run_one
from fl.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round did, in numbers; bytes and seconds are means per client.

    An aborted round (too few clients were left) sends no sum; its bytes and seconds
    are not counted. ``bytes_down`` includes the released model. ``epsilon`` bounds what
    the party that spent most has spent so far; None without differential privacy.
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
    epsilon: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one party's ledger says at the end of a run.

    Attributes:
        party: a client, or all of them where they share one mechanism.
        unit: of privacy.
        releases: how often something about it was released.
        refused: rounds that the ledger refused, since the budget would not last.
        epsilon: spent over the whole run, at the budget's delta.
    """

    party: str
    unit: str
    releases: int
    refused: int
    epsilon: float


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
        accounts: of the ledger; empty without differential privacy.
        seconds: wall time of the training.
    """

    protection: str
    seed: int
    rounds: tuple[RoundRecord, ...]
    snapshots: tuple[Snapshot, ...]
    final: NDArray[np.float32]
    correct: NDArray[np.bool_]
    accounts: tuple[Account, ...]
    seconds: float


def train(
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    keep: Collection[int],
) -> RunRecord:
    """Train for the configured rounds and return the record.

    Args:
        federation: the clients' prepared data.
        protection: how updates are summed and noised.
        config: the resolved configuration.
        seed: of this repetition.
        keep: indices of the rounds to keep whole.

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
    books = _open(protection, config)
    rounds: list[RoundRecord] = []
    snapshots: list[Snapshot] = []
    due, failure = False, None
    for index in range(config.training.rounds):
        due = due or index in keep
        sent = None
        cohort = draw_cohort(federation, config, seed=seed, index=index)
        try:
            admitted = _admit(books, cohort, protection)
            sent = run_one(
                model,
                admitted,
                protection,
                config,
                seed=seed,
                index=index,
                look=due,
            )
            if due:  # a kept round that was aborted is made up for by the next one
                snapshots.append(sent)
                due = False
        except secagg.AbortError as error:
            failure = error
            _release_noise_alone(model, protection, seed, index)
        except dp.BudgetExceeded:
            pass  # nothing was sent and nothing is released
        event, spent = protection.event, None
        if books is not None and event is not None:
            spent = privacy.spent(books, event)
        rounds.append(_record(model, federation, sent, spent, index))
    if all(one.aborted for one in rounds):
        raise _nothing_done(failure, config, protection.name) from failure
    return RunRecord(
        protection=protection.name,
        seed=seed,
        rounds=tuple(rounds),
        snapshots=tuple(snapshots),
        final=to_vector(model),
        correct=federation.held_out.correct(model),
        accounts=_close(books),
        seconds=time.perf_counter() - began,
    )


def _open(protection: Protection, config: Config) -> dp.Ledger | None:
    if protection.unit is None:
        return None
    return privacy.ledger(protection.unit, config)


def _admit(
    books: dp.Ledger | None, cohort: Sequence[Client], protection: Protection
) -> tuple[Client, ...]:
    """Spend what the round costs, before it begins; return who may take part.

    Raises:
        dp.BudgetExceeded: the server's mechanism may not be run once more.
    """
    if books is not None and protection.central is not None:
        books.spend(privacy.EVERYBODY, protection.central.event)
    if books is None or protection.example is None:
        return tuple(cohort)
    return privacy.admit(books, cohort, protection.example)


def _release_noise_alone(
    model: torch.nn.Module, protection: Protection, seed: int, index: int
) -> None:
    """Release the noise of a sum that nobody is in, where there is noise."""
    before = to_vector(model)
    change = released(protection, None, len(before), seed=seed, name=("round", index))
    load_vector(model, before + change)


def _close(books: dp.Ledger | None) -> tuple[Account, ...]:
    if books is None:
        return ()
    return tuple(
        Account(
            party=party,
            unit=books.unit,
            releases=sum(one.count for one in books.entries() if one.party == party),
            refused=books.refusals.get(party, 0),
            epsilon=books.epsilon(party),
        )
        for party in dict.fromkeys((*books.parties, *books.refusals))
    )


def _nothing_done(
    error: secagg.AbortError | None, config: Config, protection: str
) -> UserError:
    if error is None:
        return UserError(
            f"no round under {protection} fits the budget; raise privacy.epsilon or "
            f"plan fewer rounds."
        )
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
    sent: Snapshot | None,
    spent: float | None,
    index: int,
) -> RoundRecord:
    accuracy, losses = evaluate(model, federation.held_out.x, federation.held_out.y)
    record = RoundRecord(
        index=index,
        aborted=True,
        accuracy=accuracy,
        loss=float(losses.mean()),
        epsilon=spent,
    )
    if sent is None:
        return record
    aggregate, model_bytes = sent.aggregate, 4 * parameter_count(model)
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
