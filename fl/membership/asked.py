"""Whose records a federated membership attack is asked about: the same in every view.

Members are honest clients' training records; the non-members of a client are held out
of that client's own data, in the mix of classes of its members, so that neither the
label nor the site tells. A third of what is held out is nobody's question: it is the
population that the attacker knows to be outside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.federation import Client, Federation
from fl.seeds import rng_for
from fl.workload import MEMBERS, POPULATION

Rows = NDArray[np.int64]

# Non-members per member of a client, at most: more would narrow no interval.
PER_MEMBER = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run's question.

    Attributes:
        members: by client, row numbers of its records.
        nonmembers: by client, row numbers of its held-out records.
        population: row numbers of records that are in nobody's training.
        own: by colluder, row numbers of its records, which the attacker knows.
    """

    members: Mapping[str, Rows]
    nonmembers: Mapping[str, Rows]
    population: Rows
    own: Mapping[str, Rows]

    @property
    def rows(self) -> Rows:
        """Return all row numbers that are measured, ascending."""
        parts = (self.members, self.nonmembers, self.own)
        each = [rows for part in parts for rows in part.values()]
        return np.unique(np.concatenate([*each, self.population]))

    def together(self) -> tuple[Rows, Rows]:
        """Return all members and all non-members, each once."""
        sides = (self.members, self.nonmembers)
        inside, outside = (
            np.unique(np.concatenate([*side.values(), np.empty(0, dtype=np.int64)]))
            for side in sides
        )
        return inside, outside


def asked_of(
    took_part: Collection[str], federation: Federation, corrupt: int, *, seed: int
) -> Asked:
    """Draw the question; it depends on the seed and the cohorts, on no protection.

    Args:
        took_part: the clients in the rounds that are seen: only they are asked for.
        federation: the clients and the held-out records.
        corrupt: how many clients collude with the server. Their records are theirs to
            know; without any, the last client's still are, since it may be curious.
        seed: of the repetition.
    """
    known = federation.colluders(max(1, corrupt))
    names = {client.name for client in known}
    clients = [
        one
        for one in federation.clients
        if one.name in took_part and one.name not in names
    ]
    population = _population(federation, seed)
    most = max(10, MEMBERS // max(len(clients), 1))
    members, nonmembers = {}, {}
    for client in clients:
        inside, outside = _of_client(client, federation, population, most, seed=seed)
        if len(inside) and len(outside):
            members[client.name], nonmembers[client.name] = inside, outside
    return Asked(
        members=members,
        nonmembers=nonmembers,
        population=population,
        own={one.name: one.ids for one in known if one.name in took_part},
    )


def _population(federation: Federation, seed: int) -> Rows:
    """Draw a third of what is held out, a person whole or not at all.

    Who learnt from some of a person's records that they are outside would know the
    others of them by their likeness, and nobody's membership.
    """
    rng, held_out = rng_for(seed, "population"), federation.held_out.ids
    most = min(POPULATION, len(held_out) // 3)
    persons = federation.dataset.subjects
    if persons is None:
        return rng.permutation(held_out)[:most]
    known, of, counts = np.unique(
        persons[held_out], return_inverse=True, return_counts=True
    )
    order = rng.permutation(len(known))
    taken = order[np.cumsum(counts[order]) <= most]
    return rng.permutation(held_out[np.isin(of, taken)])


def _of_client(
    client: Client,
    federation: Federation,
    population: Collection[np.int64],
    most: int,
    *,
    seed: int,
) -> tuple[Rows, Rows]:
    """Return a client's members and as fitting held-out records."""
    rng, labels = rng_for(seed, "asked", client.name), federation.dataset.labels
    own = federation.held_out_of(client.name)
    outside = rng.permutation(own[~np.isin(own, list(population))])
    inside = rng.permutation(client.ids)[:most]
    # A class that nobody holds out has no non-member to compare with.
    inside = inside[np.isin(labels[inside], labels[outside])]
    if not len(inside):
        return inside, outside
    wanted = np.bincount(labels[inside], minlength=federation.classes)
    there = np.bincount(labels[outside], minlength=federation.classes)
    kinds = np.flatnonzero(wanted)
    share = min(PER_MEMBER, float((there[kinds] / wanted[kinds]).min()))
    taken = [
        outside[labels[outside] == one][: max(1, int(share * wanted[one]))]
        for one in kinds
    ]
    return inside, np.concatenate(taken)
