"""Who is whose neighbour: everybody, or those nearby in a ring in random order.

Bell et al., CCS 2020, section 3: the clients take the places 0..n-1 of a ring in an
order that nobody chose, and each is a neighbour of those up to k/2 places away (the
Harary graph).  The order is a keyed permutation, so that a client finds its place and
its k neighbours in O(k) steps, whatever n.

Its seed is the round id, a hash of session, plan, roster and length: a server that
follows the protocol does not try sessions until it likes the graph.  The order is as
good as uniform: all bad events of ``degree`` together are at most 2^-24 of their budget
more likely.

This module moves no message and holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from secagg.params import Plan
from secagg.permutation import Permutation, rounds_for

_MARGIN_BITS: Final = 24  # the order adds less than 2^-24 of any budget


class Graph(Protocol):
    """Tells neighbours, by roster index; nobody is its own neighbour."""

    def neighbours(self, client: int) -> frozenset[int]:
        """Return the neighbours of one client."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Everybody is everybody's neighbour."""

    clients: int

    def neighbours(self, client: int) -> frozenset[int]:
        """Return everybody else."""
        return frozenset(range(self.clients)) - {client}


@dataclass(frozen=True, slots=True)
class Harary:
    """Neighbours stand up to ``degree`` / 2 places apart in a ring."""

    degree: int
    order: Permutation

    def neighbours(self, client: int) -> frozenset[int]:
        """Return the neighbours of one client, at the cost of k + 1 points."""
        order = self.order.drawn()  # once, for both ways
        (place,) = order.images([client])
        return frozenset(order.points(self._near(place)))

    def tabulated(self) -> Tabulated:
        """Return the same graph with all neighbours computed, for a server."""
        ring = self.order.points(range(self.order.size))  # the client at each place
        return Tabulated(
            {
                client: frozenset(ring[near] for near in self._near(place))
                for place, client in enumerate(ring)
            }
        )

    def _near(self, place: int) -> list[int]:
        """Return the places up to ``degree`` / 2 before and behind one."""
        half = range(1, self.degree // 2 + 1)
        size = self.order.size
        return [(place + step) % size for away in half for step in (-away, away)]


@dataclass(frozen=True, slots=True)
class Tabulated:
    """A graph whose neighbours are all known."""

    rows: Mapping[int, frozenset[int]]

    def neighbours(self, client: int) -> frozenset[int]:
        """Return the neighbours of one client."""
        return self.rows[client]


def graph_of(plan: Plan, round_id: bytes) -> Complete | Harary:
    """Return the graph of a round.

    Args:
        plan: Says how many clients and neighbours.
        round_id: 32 bytes, the seed of the order.
    """
    if plan.sigma is None or plan.eta is None:
        return Complete(plan.clients)
    rarest = max(plan.sigma + (plan.grinding_bits or 0), plan.eta)
    # Who stands at k places, or at all others, decides whether they are a bad event.
    rounds = rounds_for(plan.clients, plan.k, closeness=rarest + _MARGIN_BITS)
    return Harary(plan.k, Permutation(plan.clients, rounds, round_id))


def server_graph(plan: Plan, round_id: bytes) -> Graph:
    """Return the graph of a round for who needs the neighbours of everybody."""
    graph = graph_of(plan, round_id)
    return graph.tabulated() if isinstance(graph, Harary) else graph
