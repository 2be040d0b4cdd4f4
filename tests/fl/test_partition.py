"""The held-out split, the partitions, and the seeds that draw them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.data.records import Indices, Records
from fl.errors import DataError
from fl.partition import partition, split
from fl.seeds import bytes_for, rng_for, seed_for
from fl.settings import Partition


def records(
    labels: np.ndarray,
    sites: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> Records:
    return Records(
        labels=labels.astype(np.int64),
        classes=int(labels.max()) + 1,
        class_names=tuple(str(i) for i in range(int(labels.max()) + 1)),
        sites=sites,
        site_names=() if sites is None else tuple(f"s{i}" for i in np.unique(sites)),
        held_out=held_out,
        provenance="a test",
        builtin=False,
    )


def deal(
    owner: Records, train: Indices, kind: Partition, clients: int, seed: int = 0
) -> list[Indices]:
    return partition(owner, train, clients=clients, kind=kind, alpha=0.3, seed=seed)


LABELS = np.repeat([0, 1, 2], [200, 100, 50])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(6, 300),
    clients=st.integers(2, 6),
    kind=st.sampled_from(["iid", "dirichlet"]),
    alpha=st.sampled_from([0.01, 0.5, 100.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_shares_cover_the_training_rows_once_and_none_is_empty(
    n: int, clients: int, kind: Partition, alpha: float, seed: int
) -> None:
    owner = records(np.arange(n) % 3)
    train = np.arange(0, n, 1)
    shares = partition(owner, train, clients=clients, kind=kind, alpha=alpha, seed=seed)
    assert len(shares) == clients
    assert min(len(share) for share in shares) >= 1
    assert np.array_equal(np.sort(np.concatenate(shares)), train)
    assert all((np.diff(share) > 0).all() for share in shares)


def test_iid_shares_are_of_equal_size() -> None:
    sizes = [len(s) for s in deal(records(LABELS), np.arange(350), "iid", 10)]
    assert set(sizes) == {35}


def test_small_alpha_skews_labels_and_large_alpha_does_not() -> None:
    labels = np.arange(3000) % 3
    owner = records(labels)

    def skew(alpha: float) -> float:
        shares = partition(
            owner, np.arange(3000), clients=5, kind="dirichlet", alpha=alpha, seed=1
        )
        tops = [np.bincount(labels[s], minlength=3).max() / len(s) for s in shares]
        return float(np.mean(tops))

    assert skew(0.1) > 0.6
    assert skew(1000.0) < 0.4


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
def test_partition_follows_the_seed(kind: Partition) -> None:
    owner, train = records(LABELS), np.arange(350)
    first, again = deal(owner, train, kind, 5), deal(owner, train, kind, 5)
    other = deal(owner, train, kind, 5, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(
        len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True)
    )


def test_sites_become_clients_in_order() -> None:
    sites = np.array([0, 1, 2, 1, 0, 2])
    shares = deal(records(np.arange(6) % 2, sites), np.arange(1, 6), "site", 3)
    assert [share.tolist() for share in shares] == [[4], [1, 3], [2, 5]]


@pytest.mark.parametrize(
    ("sites", "train", "clients", "part"),
    [
        (None, [0, 1, 2, 3], 3, "wants records with sites"),
        ([0, 1, 2, 2], [0, 1, 2, 3], 2, "set clients to 3"),
        ([0, 1, 2, 2], [1, 2, 3], 3, "site s0 has no training record"),
        ([0, 1, 2, 2], [1], 3, "too few"),
    ],
)
def test_a_federation_that_cannot_form_is_refused_with_the_cure(
    sites: list[int] | None, train: list[int], clients: int, part: str
) -> None:
    owner = records(np.array([0, 1, 0, 1]), None if sites is None else np.array(sites))
    with pytest.raises(DataError, match=part):
        deal(owner, np.array(train), "site", clients)


def test_split_is_stratified_by_site_and_class() -> None:
    labels = np.tile(np.repeat([0, 1], [30, 10]), 3)
    sites = np.repeat([0, 1, 2], 40)
    train, test = split(records(labels, sites), 0.4, 0)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(120))
    for site in range(3):
        assert np.bincount(labels[test][sites[test] == site]).tolist() == [12, 4]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_every_site_keeps_a_training_record(
    sizes: list[int], fraction: float, seed: int
) -> None:
    sites = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.arange(len(sites)) % 2
    if len(sites) < 2:
        return
    try:
        train, test = split(records(labels, sites), fraction, seed)
    except DataError:
        assert all(np.floor(fraction * size + 0.5) < 1 or size == 1 for size in sizes)
        return
    assert set(sites[train]) == set(range(len(sizes)))
    for site, size in enumerate(sizes):
        wanted = min(np.floor(fraction * size + 0.5), size - 1)
        assert (sites[test] == site).sum() == wanted


def test_a_given_held_out_set_is_used_as_it_is() -> None:
    train, test = split(records(LABELS, held_out=np.arange(300, 350)), 0.4, 0)
    assert train.tolist() == list(range(300))
    assert test.tolist() == list(range(300, 350))


def test_split_follows_the_seed() -> None:
    owner = records(LABELS)
    assert np.array_equal(split(owner, 0.4, 0)[1], split(owner, 0.4, 0)[1])
    assert not np.array_equal(split(owner, 0.4, 0)[1], split(owner, 0.4, 1)[1])


def test_streams_of_different_names_differ() -> None:
    names: list[tuple[str | int, ...]] = [(), ("a",), ("b",), ("a", "b"), ("ab",)]
    names += [("a", 1), ("a", "1"), (1,), ("1",), ("a", 0, 1), ("a", 1, 0)]
    seeds = {seed_for(seed, *name) for name in names for seed in (0, 1)}
    assert len(seeds) == 2 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({bytes_for(0, *name) for name in names}) == len(names)
    assert {len(bytes_for(0, *name)) for name in names} == {32}


def test_streams_repeat_on_every_machine() -> None:
    assert rng_for(0, "split").integers(2**31) == rng_for(0, "split").integers(2**31)
    assert seed_for(7, "train", 3) == 6105159126148873270
