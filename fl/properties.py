"""Property inference in the worst case: whose batches share a property, and whose not.

A round in which every batch holds records with the property, or none does, as a coin
says; the attacker learns from updates that it simulates on held-out records, and scores
what crossed the wire. That all batches of a round are alike is what a sum shows best.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Observation, ParameterError
from attacks.property import property_scores
from fl.config import Config
from fl.federation import Federation
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.named import only, with_property
from fl.protection import Protection
from fl.run import RunRecord
from fl.seeds import rng_for
from fl.shots import WORST_CASE, Shot, from_worst_case

ATTACK = "property inference: {name}"
# Updates that the attacker simulates, half of either kind.
SIMULATED = 120
# More records than a client has cannot be in its batch.
BATCH = 16
# Rounds of either kind, at least: fewer cannot tell anything at the page's level.
FEWEST = 8
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One worst-case round: whether its records have the property, and what is seen."""

    number: int
    having: bool
    shots: tuple[Shot, ...]


def play(
    run: RunRecord,
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    rounds: int,
) -> list[Round]:
    """Play worst-case rounds on the trained model, half of them with the property."""
    name = config.attacks.property
    having = with_property(federation, name)
    sides = {bit: only(federation, having == bit, name) for bit in (True, False)}
    coins = rng_for(run.seed, "property", name).permutation(rounds) % 2 == 0
    played = []
    for number, bit in enumerate(coins.tolist()):
        shots = from_worst_case(
            (("trained", run.final),),
            sides[bit],
            protection,
            config,
            batch=BATCH,
            trial=number,
            seed=run.seed,
        )
        played.append(Round(number=number, having=bit, shots=tuple(shots)))
    return played


def findings(
    rounds: Sequence[Round], federation: Federation, config: Config, *, seed: int
) -> list[Finding]:
    """Score what each adversary saw of the rounds."""
    views: dict[str, list[tuple[Round, Shot]]] = {}
    for one in rounds:
        for shot in one.shots:
            views.setdefault(shot.view, []).append((one, shot))
    return [
        finding
        for seen in views.values()
        for finding in _findings(seen, federation, config, seed)
    ]


def _findings(
    seen: Sequence[tuple[Round, Shot]],
    federation: Federation,
    config: Config,
    seed: int,
) -> list[Finding]:
    began = time.perf_counter()
    first = seen[0][1]
    measure = _measure(seen, federation, config, seed)
    seconds = time.perf_counter() - began
    return [
        Finding(
            protection=first.protection,
            adversary=adversary,
            view=first.view,
            scenario=WORST_CASE,
            attack=ATTACK.format(name=config.attacks.property),
            measures=(measure,),
            seeds=(seed,),
            seconds=seconds,
            prevented=first.prevented,
        )
        for adversary in first.adversaries
    ]


def _measure(
    seen: Sequence[tuple[Round, Shot]],
    federation: Federation,
    config: Config,
    seed: int,
) -> Measure:
    observed = [shot.observation for _, shot in seen]
    name = config.attacks.property
    try:
        made, bits = _simulated(observed[0], federation, name, seed)
        updates = np.stack([_vector(one) for one in observed])
        scores = property_scores(made, bits, updates, seed=seed)
    except ParameterError as error:
        return Missing(metric="AUC", why=str(error))
    group = Group(
        scores=scores,
        members=np.array([one.having for one, _ in seen]),
        records=np.array([one.number for one, _ in seen]),
    )
    return Ranking(groups=(group,))


def _simulated(
    observation: Observation, federation: Federation, name: str, seed: int
) -> tuple[NDArray[np.float32], Bits]:
    """Take steps on batches of held-out records with and without the property.

    Raises:
        ParameterError: too few such records.
    """
    own = federation.held_out
    having = with_property(federation, name)[own.ids]
    bits = np.arange(SIMULATED) % 2 == 0
    rng = rng_for(seed, "simulated updates", name)
    size = observation.batch_size or 1
    made = []
    for bit in bits.tolist():
        rows = np.flatnonzero(having == bit)
        if len(rows) < 2:
            raise ParameterError(
                f"{len(rows)} held-out records {'with' if bit else 'without'} the "
                "property are too few to simulate updates from."
            )
        batch = torch.from_numpy(rng.choice(rows, size=size, replace=size > len(rows)))
        made.append(_gradient(observation.model, own.x[batch], own.y[batch]))
    return np.stack(made), bits


def _gradient(
    model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor
) -> NDArray[np.float32]:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return np.asarray(torch.cat([part.reshape(-1) for part in parts]).numpy())


def _vector(observation: Observation) -> NDArray[np.float32]:
    if observation.gradient is None:
        raise ParameterError("This view shows no update, so there is nothing to score.")
    names = [name for name, _ in observation.model.named_parameters()]
    parts = [observation.gradient[name].reshape(-1) for name in names]
    return np.asarray(torch.cat(parts).numpy())
