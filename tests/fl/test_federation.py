"""Who holds what, and what they learn together before training, through the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import secagg
from fl.data import Dataset, RawTable, load
from fl.errors import DataError
from fl.federation import Federation, _ExactSum, federate
from secagg.aggregator import Aggregate
from tests.fl import tiny

BOTH = ("none", "secagg")


def _wine(*sets: str) -> tuple[RawTable, tuple[str, ...]]:
    settings = tiny.config("data.source=wine", *sets)
    raw = load(settings.data, 0)
    assert isinstance(raw, RawTable)
    return raw, ("data.source=wine", *sets)


@pytest.fixture(scope="module")
def wines() -> dict[str, Federation]:
    raw, sets = _wine()
    settings = tiny.config(*sets)
    return {
        name: federate(raw, settings, tiny.protection(name, settings).counter, seed=0)
        for name in BOTH
    }


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("clients", [3, 12])
def test_counts_come_back_exactly(name: str, clients: int) -> None:
    settings = tiny.config(f"federation.clients={clients}", "federation.drop=0")
    total = _ExactSum(tiny.protection(name, settings).counter, seed=0)
    rng = np.random.default_rng(clients)
    for largest in (1, 1000, 60_000):
        counts = {
            f"client-{i:02d}": rng.integers(0, largest + 1, size=9).astype(np.float32)
            for i in range(clients)
        }
        wanted = np.sum([own.astype(np.int64) for own in counts.values()], axis=0)
        np.testing.assert_array_equal(total(counts), wanted)


def test_counts_repeat_and_no_two_sums_share_a_session() -> None:
    settings = tiny.config()
    sessions: list[tuple[bytes, bytes]] = []

    class Notes:
        name = "none"

        def aggregate(
            self,
            vectors: Mapping[str, NDArray[np.float32]],
            weights: Mapping[str, int],
            *,
            context: bytes,
            session: bytes,
            vanish: Mapping[str, str] | None = None,
            seed: bytes | None = None,
        ) -> Aggregate:
            sessions.append((context, session))
            return secagg.PlainSum().aggregate(
                vectors, weights, context=context, session=session, seed=seed
            )

    total = _ExactSum(Notes(), seed=0)
    counts = {c: np.ones(2, np.float32) for c in ("a", "b")}
    for _ in range(3):
        total(counts)
    assert len({context for context, _ in sessions}) == 3
    assert len({session for _, session in sessions}) == 3
    again = tiny.federation(settings), tiny.federation(settings)
    assert torch.equal(again[0].clients[0].x, again[1].clients[0].x)


def test_what_is_learnt_is_the_same_under_both_protections(
    wines: dict[str, Federation],
) -> None:
    plain, masked = (wines[name].learnt for name in BOTH)
    assert plain is not None and masked is not None
    np.testing.assert_array_equal(plain.median, masked.median)
    np.testing.assert_array_equal(plain.scale, masked.scale)
    assert plain.holes == masked.holes
    np.testing.assert_array_equal(
        wines["none"].dataset.features, wines["secagg"].dataset.features
    )


def test_medians_are_those_of_the_training_records_only(
    wines: dict[str, Federation],
) -> None:
    raw, _ = _wine()
    fed = wines["secagg"]
    assert fed.learnt is not None
    wanted = np.quantile(raw.values[fed.train_ids], 0.5, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(fed.learnt.median, wanted, atol=1e-6)


def test_records_are_dealt_once_and_held_out_ones_to_nobody(
    wines: dict[str, Federation],
) -> None:
    for fed in wines.values():
        dealt = np.concatenate([client.ids for client in fed.clients])
        assert len(set(dealt.tolist())) == len(dealt)
        assert not set(dealt.tolist()) & set(fed.held_out.ids.tolist())
        assert len(dealt) + len(fed.held_out.ids) == len(fed.dataset)
        for client in fed.clients:
            np.testing.assert_array_equal(
                client.x.numpy(), fed.dataset.features[client.ids]
            )
            np.testing.assert_array_equal(
                client.y.numpy(), fed.dataset.labels[client.ids]
            )


def test_the_split_depends_on_the_seed_and_not_on_the_protection() -> None:
    settings = tiny.config()
    plain, masked = (tiny.federation(settings, name, seed=4) for name in BOTH)
    other = tiny.federation(settings, seed=5)
    for one, two in zip(plain.clients, masked.clients, strict=True):
        assert one.name == two.name
        np.testing.assert_array_equal(one.ids, two.ids)
    assert set(plain.train_ids.tolist()) != set(other.train_ids.tolist())


def test_strangers_equal_no_training_record() -> None:
    settings = tiny.config()
    raw = tiny.dataset()
    raw.features[60:] = raw.features[:60]
    fed = tiny.federation(settings, raw=raw)
    trained = {tuple(row) for client in fed.clients for row in client.x.tolist()}
    assert len(fed.strangers)
    assert not trained & {tuple(row) for row in fed.strangers.tolist()}


def test_where_all_held_out_records_repeat_training_records_there_is_no_null() -> None:
    raw = tiny.dataset()
    raw.features[:] = raw.features[:1]
    with pytest.raises(DataError, match="null baseline"):
        tiny.federation(tiny.config(), raw=raw)


def test_dealing_anew_keeps_the_rows_that_were_asked_for() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    rows = np.arange(0, 120, 2)
    anew = fed.redealt(rows, settings, 9)
    np.testing.assert_array_equal(np.sort(anew.train_ids), rows)
    assert len(anew.clients) == len(fed.clients)
    assert anew.held_out is fed.held_out


def _sites() -> Dataset:
    """Return records whose site can be read off their first feature."""
    base = tiny.dataset(records=200)
    sites = np.arange(200) % 5
    features = base.features.copy()
    features[:, 0] = sites / 5 + features[:, 0] / 10
    return replace(
        base,
        features=features,
        sites=sites,
        site_names=("a", "b", "c", "d", "e"),
    )


def test_a_sites_null_and_non_members_come_from_that_site() -> None:
    settings = tiny.config("federation.partition=site")
    fed = tiny.federation(settings, raw=_sites())
    for number, name in enumerate("abcde"):
        assert set(fed.dataset.sites[fed.held_out_of(name)]) == {number}
        own = fed.strangers_like({name: 3})
        assert len(own)
        assert set((own[:, 0] * 5).floor().int().tolist()) == {number}


def test_the_null_of_a_sum_has_its_sites_in_the_same_proportions() -> None:
    settings = tiny.config("federation.partition=site")
    fed = tiny.federation(settings, raw=_sites())
    mixed = fed.strangers_like({"a": 8, "b": 4, "c": 4})
    found = torch.bincount((mixed[:, 0] * 5).floor().int(), minlength=5)
    assert found[3:].sum() == 0
    assert found[0] == 2 * found[1] == 2 * found[2]


def test_without_sites_every_stranger_may_stand_in() -> None:
    fed = tiny.federation(tiny.config())
    name = fed.clients[0].name
    assert torch.equal(fed.strangers_like({name: 1}), fed.strangers)
    assert np.array_equal(fed.held_out_of(name), fed.held_out.ids)


def test_members_and_others_to_tell_apart_have_the_same_classes() -> None:
    federation = tiny.federation(tiny.config())
    labels = federation.dataset.labels
    rows, among = federation.train_ids, federation.held_out.ids
    without = among[labels[among] != 1]  # the held-out records lack a class
    members, others = federation.comparable(rows, without)
    assert set(labels[members]) == set(labels[others]) == {0, 2}
    assert set(members) <= set(rows) and set(others) <= set(without)
    shares = [np.bincount(labels[one], minlength=3) / len(one) for one in (rows, among)]
    members, others = federation.comparable(rows, among)
    assert np.array_equal(members, rows)
    mixed = np.bincount(labels[others], minlength=3) / len(others)
    assert np.abs(mixed - shares[0]).max() < 0.05
    alone = rows[labels[rows] == 1]
    assert federation.comparable(alone, without)[0] is alone
