"""A federation small enough to train in milliseconds, for tests of what fl does."""

from __future__ import annotations

import os

import numpy as np

import fl.protections
from fl.config import Config, load_config
from fl.data import Dataset, Learnt, load
from fl.federation import Federation, federate
from fl.models import build, to_vector
from fl.protection import Protection
from fl.run import RunRecord, train
from fl.shots import Shot, from_run, from_worst_case

TINY = (
    "federation.clients=5",
    "federation.corrupt=1",
    "federation.drop=1",
    "model.hidden=[8]",
    "training.rounds=3",
    "training.batch_size=8",
    "training.learning_rate=0.2",
    "repeats=2",
    "attacks.victims=4",
    "attacks.iterations=4",
    "attacks.batches=[1, 4]",
    "attacks.canaries=20",
    "attacks.federated=[]",
    "privacy.allow_useless=true",
    "privacy.example.sampling_rate=1.0",
    'protections.names=["none", "secagg"]',
)


def config(*sets: str) -> Config:
    """Return a small configuration; ``sets`` override it.

    Starts from an empty file: the operating point of the command is not meant here.
    """
    return load_config(os.devnull, [*TINY, *sets])


def dataset(
    *, records: int = 120, features: int = 6, classes: int = 3, seed: int = 0
) -> Dataset:
    """Make records in [0, 1] around one centre per class, distinct in value."""
    rng = np.random.default_rng(seed)
    labels = np.arange(records) % classes
    centres = rng.random((classes, features))
    noise = rng.normal(0, 0.15, size=(records, features))
    return Dataset(
        features=np.clip(centres[labels] + noise, 0, 1).astype(np.float32),
        labels=labels.astype(np.int64),
        classes=classes,
        class_names=tuple(str(i) for i in range(classes)),
        names=tuple(f"f{i}" for i in range(features)),
        value_range=(0.0, 1.0),
        kind="table",
        provenance="made up",
        builtin=True,
    )


def protection(name: str, settings: Config) -> Protection:
    """Return the protection for the configured number of clients."""
    return fl.protections.build(name, settings, settings.federation.clients)


def federation(
    settings: Config, name: str = "none", *, seed: int = 0, raw: Dataset | None = None
) -> Federation:
    """Deal the made-up records out to the clients."""
    counter = protection(name, settings).counter
    return federate(raw or dataset(), settings, counter, seed=seed)


def trained(
    settings: Config, name: str, *, seed: int = 0, raw: Dataset | None = None
) -> tuple[RunRecord, Federation]:
    """Train under one protection and keep every round whole."""
    fed = federation(settings, name, seed=seed, raw=raw)
    run = train(
        fed,
        protection(name, settings),
        settings,
        seed=seed,
        keep=range(settings.training.rounds),
    )
    return run, fed


def learnt(settings: Config) -> Learnt:
    """Return what the clients of a table learn together before training."""
    raw = load(settings.data, 0)
    counter = protection("none", settings).counter
    found = federate(raw, settings, counter, seed=0).learnt
    if found is None:
        raise ValueError("the data set is no table.")
    return found


def own_shots(settings: Config, name: str) -> list[Shot]:
    """Return the shots of a run's own messages."""
    run, fed = trained(settings, name)
    return list(from_run(run, fed, protection(name, settings), settings))


def worst_shots(
    settings: Config, name: str, *, trials: int = 1, batch: int = 1
) -> list[Shot]:
    """Return the shots of worst-case rounds from one untrained model."""
    fed = federation(settings, name)
    start = to_vector(build(settings.model, fed.input_shape, fed.classes, 1))
    return [
        shot
        for trial in range(trials)
        for shot in from_worst_case(
            [("untrained", start)],
            fed,
            protection(name, settings),
            settings,
            batch=batch,
            trial=trial,
            seed=0,
        )
    ]
