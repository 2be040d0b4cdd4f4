"""Attributes and properties: found where a model memorised them, refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks import Adversary, Field, auc
from fl import attributes, properties
from fl.data import Dataset
from fl.errors import DataError
from fl.finding import Paired, Ranking
from fl.membership.targets import RELEASED
from fl.named import check_named, with_property
from tests.fl import tiny

MEMORISING = (
    "training.rounds=60",
    "training.local_epochs=3",
    "training.learning_rate=0.5",
    "model.hidden=[64]",
    'attacks.attributes=["mark"]',
    'attacks.property="mark"',
)


def _marked() -> Dataset:
    """Return records with random labels and a loud bit that follows nothing."""
    raw = tiny.dataset(records=320, features=32)
    rng = np.random.default_rng(5)
    features = rng.random(raw.features.shape).astype(np.float32)
    features[:, 3] = rng.integers(0, 2, size=len(features))
    fields = tuple(
        Field(name="mark" if i == 3 else f"f{i}", columns=(i,), numeric=True)
        for i in range(32)
    )
    return replace(
        raw, features=features, labels=rng.permutation(raw.labels), fields=fields
    )


def test_a_model_that_memorised_its_records_shows_a_field_of_them() -> None:
    settings = tiny.config(*MEMORISING)
    runs = [tiny.trained(settings, "none", raw=_marked())]
    found = attributes.findings(runs, tiny.protection("none", settings), settings)
    first = next(one for one in found if one.adversary is Adversary.OUTSIDER)
    named, favoured = first.measures
    assert isinstance(named, Paired) and isinstance(favoured, Ranking)
    assert named.values.mean() > named.nulls.mean() + 0.1
    (group,) = favoured.groups
    scores, members = group.scores, group.members
    assert auc(scores[members], scores[~members]) > 0.6
    views = {(one.adversary, one.view) for one in found}
    assert (Adversary.SERVER, "one client's model") in views


def test_no_record_is_asked_about_under_two_models() -> None:
    settings = tiny.config(*MEMORISING, "training.rounds=1")
    runs = [tiny.trained(settings, "none", seed=s, raw=_marked()) for s in (0, 1)]
    found = attributes.findings(runs, tiny.protection("none", settings), settings)
    for one in found:
        ranking = one.measures[1]
        assert isinstance(ranking, Ranking)
        asked = np.concatenate([group.records for group in ranking.groups])
        assert len(np.unique(asked)) == len(asked)


def test_a_person_is_one_victim_and_asked_about_under_one_model() -> None:
    settings = tiny.config(*MEMORISING, "training.rounds=1")
    raw = replace(_marked(), subjects=np.arange(320) // 4)
    runs = [tiny.trained(settings, "none", seed=s, raw=raw) for s in (0, 1)]
    found = attributes.findings(runs, tiny.protection("none", settings), settings)
    for one in (each for each in found if each.view == RELEASED):
        named, favoured = one.measures
        assert isinstance(named, Paired) and isinstance(favoured, Ranking)
        each = []
        for group in favoured.groups:
            assert group.persons is not None
            each.append(np.unique(group.persons[group.members]))
        assert len(named.values) == sum(len(persons) for persons in each)
        assert len(np.unique(np.concatenate(each))) == len(named.values)


@pytest.mark.slow
def test_an_upload_shows_a_property_and_a_masked_one_does_not() -> None:
    settings = tiny.config(*MEMORISING, "training.rounds=1")
    aucs = {}
    for name in ("none", "secagg"):
        run, federation = tiny.trained(settings, name, raw=_marked())
        protection = tiny.protection(name, settings)
        rounds = properties.play(run, federation, protection, settings, rounds=20)
        assert sum(one.having for one in rounds) == 10
        for one in properties.findings(rounds, federation, settings, seed=0):
            (measure,) = one.measures
            assert isinstance(measure, Ranking)
            (group,) = measure.groups
            scores, members = group.scores, group.members
            aucs[name, one.view] = auc(scores[members], scores[~members])
            assert (one.prevented is not None) == ("masked" in one.view)
    shown = {key: value for key, value in aucs.items() if key[1].startswith("one ")}
    assert len(shown) == 2
    for (name, _), value in shown.items():
        assert value > 0.9 if name == "none" else abs(value - 0.5) < 0.4


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ('attacks.attributes=["age"]', "no column"),
        ('attacks.property="label=9"', "classes are 0, 1, 2"),
        ('attacks.property="mark=north"', "no category"),
        ('attacks.property="nothing"', "no column"),
    ],
)
def test_a_name_that_the_data_do_not_have_is_refused(sets: str, words: str) -> None:
    settings = tiny.config(sets)
    with pytest.raises(DataError, match=words):
        check_named(tiny.federation(settings, raw=_marked()), settings)


def test_a_property_is_a_class_a_category_or_above_the_mean() -> None:
    settings = tiny.config()
    raw = _marked()
    federation = tiny.federation(settings, raw=raw)
    assert np.array_equal(with_property(federation, "label=1"), raw.labels == 1)
    assert np.array_equal(with_property(federation, "mark"), raw.features[:, 3] == 1)
    names = tuple("ward=north" if i == 3 else f"f{i}" for i in range(32))
    named = tiny.federation(settings, raw=replace(raw, names=names))
    assert np.array_equal(with_property(named, "ward=north"), raw.features[:, 3] == 1)


def test_a_client_that_knows_one_side_only_is_named() -> None:
    settings = tiny.config('attacks.property="mark"')
    federation = tiny.federation(settings, raw=_marked())
    first = federation.clients[0]
    alone = first.take(np.flatnonzero(first.x[:, 3].numpy() == 1))
    lonely = replace(federation, clients=(alone, *federation.clients[1:]))
    with pytest.raises(DataError, match=first.name):
        check_named(lonely, settings)
