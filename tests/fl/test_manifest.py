"""What is needed to run it again: the records' hash, the seeds, the whole config."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from fl.config import Config
from fl.data import load
from fl.manifest import data_hash, manifest
from tests.fl import tiny

NOON = datetime(2031, 5, 6, 12, 0, 0, tzinfo=UTC)


def test_the_hash_is_that_of_every_value_and_label() -> None:
    raw = tiny.dataset()
    base = data_hash(raw)
    assert base == data_hash(tiny.dataset())
    features = raw.features.copy()
    features[3, 2] = np.nextafter(features[3, 2], np.float32(2))
    labels = raw.labels.copy()
    labels[7] = (labels[7] + 1) % 3
    hashes = {
        base,
        data_hash(replace(raw, features=features)),
        data_hash(replace(raw, labels=labels)),
        data_hash(replace(raw, features=raw.features.reshape(120, 2, 3))),
        data_hash(replace(raw, features=raw.features[::-1])),
    }
    assert len(hashes) == 5


def test_a_table_is_hashed_as_it_was_read() -> None:
    raw = load(tiny.config("data.source=wine").data, 0)
    assert data_hash(raw) == data_hash(load(tiny.config("data.source=wine").data, 5))
    assert data_hash(raw) != data_hash(tiny.dataset())


def test_a_manifest_gives_the_configuration_and_the_seeds_back() -> None:
    settings = tiny.config("seed=11", "repeats=3")
    made = manifest(settings, tiny.dataset(), started=NOON, seconds=1.25)
    assert Config.model_validate(made.config, strict=False) == settings
    assert sorted(made.seeds.values()) == [11, 12, 13]
    assert made.simulation
    assert made.data.sha256 == data_hash(tiny.dataset())
    assert made.packages["numpy"] == np.__version__


def test_the_start_is_told_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-7)))
    made = manifest(tiny.config(), tiny.dataset(), started=elsewhere, seconds=0.0)
    assert made.started_utc == "2031-05-06T12:00:00Z"
