"""Who has which records: the held-out split, and the clients' shares of the rest.

Partitions: evenly at random ("iid"); with label skew, each class dealt to the clients
in Dirichlet(alpha) proportions (Hsu, Qi & Brown, arXiv:1909.06335, who draw the
classes per client instead); or by the site that the records come from. Everything is
drawn by the seed. Nothing here looks at features.

Where records say whose they are, persons are held out and dealt, each with all records:
nobody is on both sides of the split, or at two clients but where the sites say so. A
person then counts once, with the site and class of the first record.
"""

from __future__ import annotations

import math

import numpy as np

from fl.data.records import Indices, Records
from fl.errors import DataError
from fl.seeds import rng_for
from fl.settings import Partition

# Draws of a Dirichlet partition before records are moved to the empty clients.
ATTEMPTS = 100


def split(records: Records, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Hold records out for testing, from each site and class in proportion.

    Guarantee: the two parts are disjoint, cover all records, are sorted, and every
    site keeps a training record (of persons, every site that is somebody's first).
    Nobody has records in both. A data set's own held-out set is used as it is.

    Args:
        records: the whole data set.
        fraction: share to hold out, in (0, 1).
        seed: of the experiment.

    Returns:
        Training rows and held-out rows.

    Raises:
        DataError: too few records to hold any out.
    """
    rows = np.arange(len(records), dtype=np.int64)
    if records.held_out is not None:
        return np.setdiff1d(rows, records.held_out), np.sort(records.held_out)
    persons, first = _persons(records, rows)
    labels = records.labels[first]
    sites = np.zeros_like(first) if records.sites is None else records.sites[first]
    rng = rng_for(seed, "split")
    held_out: list[Indices] = []
    for site in np.unique(sites):
        at_site = np.flatnonzero(sites == site)
        wanted = min(_half_up(fraction * len(at_site)), len(at_site) - 1)
        held_out.append(_stratified(labels, at_site, wanted, rng))
    test = rows[np.isin(persons, np.concatenate(held_out))]
    if test.size == 0:
        raise DataError(
            f"data.test_fraction = {fraction} of {len(rows)} records holds none out; "
            f"raise it, or use more records."
        )
    return np.setdiff1d(rows, test), test


def partition(
    records: Records,
    train: Indices,
    *,
    clients: int,
    kind: Partition,
    alpha: float,
    seed: int,
) -> list[Indices]:
    """Deal the training rows out to the clients.

    Guarantee: the shares are disjoint, cover `train`, are sorted, and none is empty;
    but for "site", nobody has records in two of them.

    Args:
        records: the whole data set.
        train: its training rows.
        clients: number of clients; for "site" it must equal the number of sites.
        kind: how to deal, see the module.
        alpha: > 0; concentration of "dirichlet", not used by the others.
        seed: of the experiment.

    Returns:
        One array of rows per client; for "site" in the order of the site names.

    Raises:
        DataError: the federation cannot be formed from these records; the cure.
    """
    persons, first = _persons(records, train)
    if len(first) < clients:
        what = "training records" if records.subjects is None else "persons to train on"
        raise DataError(
            f"{len(first)} {what} are too few for federation.clients = {clients}; "
            "lower it, or use more records."
        )
    if kind == "site":
        return _by_site(records, train, clients)
    rng = rng_for(seed, "partition", kind)
    everybody = np.arange(len(first), dtype=np.int64)
    if kind == "iid":
        shares = list(np.array_split(rng.permutation(everybody), clients))
    else:
        shares = _dirichlet(records.labels[first], everybody, clients, alpha, rng)
    return [train[np.isin(persons, share)] for share in shares]


def _persons(records: Records, rows: Indices) -> tuple[Indices, Indices]:
    """Return the person of each row, from 0, and the first row of each person.

    Where records do not say whose they are, each is a person of its own.
    """
    if records.subjects is None:
        return np.arange(len(rows), dtype=np.int64), rows
    _, first, persons = np.unique(
        records.subjects[rows], return_index=True, return_inverse=True
    )
    return persons.astype(np.int64), rows[first]


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _stratified(
    of: Indices, rows: Indices, wanted: int, rng: np.random.Generator
) -> Indices:
    """Draw `wanted` rows, classes in proportion by largest remainders."""
    here = of[rows]
    classes, counts = np.unique(here, return_counts=True)
    exact = counts * (wanted / len(rows))
    takes = np.floor(exact).astype(np.int64)
    # Ties between remainders go by lot, not to the lowest class.
    order = np.lexsort((rng.random(len(classes)), takes - exact))
    takes[order[: wanted - int(takes.sum())]] += 1
    drawn = [
        rng.permutation(rows[here == label])[:take]
        for label, take in zip(classes, takes, strict=True)
    ]
    return np.concatenate(drawn).astype(np.int64)


def _by_site(records: Records, train: Indices, clients: int) -> list[Indices]:
    if records.sites is None:
        raise DataError(
            f'{records.provenance}: federation.partition = "site" wants records with '
            f"sites; give data.sites or data.site_column, or choose iid."
        )
    names = records.site_names
    if len(names) != clients:
        raise DataError(
            f"federation.clients = {clients} but the records come from {len(names)} "
            f"sites; set clients to {len(names)}."
        )
    of = records.sites[train]
    shares = [np.sort(train[of == site]) for site in range(clients)]
    empty = [name for name, share in zip(names, shares, strict=True) if not len(share)]
    if empty:
        raise DataError(
            f"site {empty[0]} has no training record; raise data.limit, or leave the "
            f"site out."
        )
    return shares


def _dirichlet(
    of: Indices,
    train: Indices,
    clients: int,
    alpha: float,
    rng: np.random.Generator,
) -> list[Indices]:
    """Deal each class out in proportions of its own; `of` is the class of `train`."""
    for _ in range(ATTEMPTS):
        shares: list[list[Indices]] = [[] for _ in range(clients)]
        for label in np.unique(of):
            rows = rng.permutation(train[of == label])
            portions = rng.dirichlet(np.full(clients, alpha))
            cuts = np.round(np.cumsum(portions)[:-1] * len(rows)).astype(np.int64)
            for share, part in zip(shares, np.split(rows, cuts), strict=True):
                share.append(part)
        drawn = [np.concatenate(share) for share in shares]
        if min(len(share) for share in drawn):
            break
    return [np.sort(share) for share in _fill_empty(drawn)]


def _fill_empty(shares: list[Indices]) -> list[Indices]:
    """Give each empty client one record of the client that then has most."""
    for position, share in enumerate(shares):
        if len(share) == 0:
            richest = max(range(len(shares)), key=lambda j: len(shares[j]))
            shares[position] = shares[richest][-1:]
            shares[richest] = shares[richest][:-1]
    return shares


def check_sites(records: Records, kind: Partition, most: int) -> None:
    """Refuse people with records at more clients than were declared.

    No client could say so of its own: this is for simulations, which have all records.

    Args:
        records: the whole data set.
        kind: of the partition; only sites share people among clients.
        most: clients at which one person may have records.

    Raises:
        DataError: nobody says whose the records are, or somebody is at more.
    """
    if records.subjects is None:
        raise DataError(
            f"{records.provenance}: nothing says to whom a record belongs; give "
            'data.subject, or set privacy.example.unit = "example".'
        )
    if kind != "site" or records.sites is None:
        return
    pairs = np.unique(np.stack([records.subjects, records.sites]), axis=1)
    found = int(np.unique(pairs[0], return_counts=True)[1].max())
    if found > most:
        raise DataError(
            f"{records.provenance}: somebody has records at {found} sites, but "
            f"privacy.example.max_sites_per_subject = {most}; raise it to {found}, "
            "which takes more noise, or keep each person at fewer sites."
        )
