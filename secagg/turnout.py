"""How many clients answer each step of a round, and how many pairs that leaves.

u1, u2, u3 and u5 are the sets of Bonawitz et al., CCS 2017: clients whose answers to
the four steps arrived.  What a round costs depends on them through the ordered pairs of
neighbours between two of them, which ``Turnout`` counts: exactly, once it is known who
answered (``turnout_of``), or ahead of the round (``expected_turnout``).

This module plays no round and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from secagg.errors import ParameterError
from secagg.graph import Graph
from secagg.invite import Step
from secagg.params import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnout:
    """Who answered, in numbers; a pair is ordered, and of neighbours.

    A client that vanishes in a step has computed its answer, which is lost.

    Attributes:
        clients: n, invited.
        u1: Advertised keys.
        u2: Dealt shares.
        u3: Uploaded.
        u5: Answered the unmask request.
        listed: Pairs within u1: keys that clients receive of others.
        dealt: Pairs from u2 to u1: boxes that the server receives.
        delivered: Pairs within u2: boxes that clients receive, and pairwise masks.
        asked: Pairs from u3 to u2: shares that clients reveal.
        revealed: Pairs from u5 to u2: shares that the server receives.
        orphaned: Pairs from u2 without u3 to u3: masks that the server recomputes.
        reach: 1 + the largest roster index in u3.
    """

    clients: int
    u1: int
    u2: int
    u3: int
    u5: int
    listed: int
    dealt: int
    delivered: int
    asked: int
    revealed: int
    orphaned: int
    reach: int

    def answering(self, step: Step) -> tuple[int, int]:
        """Return how many clients a step asks and how many answers arrive."""
        sizes = (self.clients, self.u1, self.u2, self.u3, self.u5)
        at = list(Step).index(step)
        return sizes[at], sizes[at + 1]


def turnout_of(
    graph: Graph,
    *,
    clients: int,
    u1: Set[int],
    u2: Set[int],
    u3: Set[int],
    u5: Set[int],
) -> Turnout:
    """Count the pairs of a round of which it is known who answered.

    Args:
        graph: Of that round.
        clients: n.
        u1: Roster indices; each of the sets holds the next.
        u2: The same.
        u3: The same, not empty.
        u5: The same.
    """

    def pairs(first: Set[int], second: Set[int]) -> int:
        return sum(len(graph.neighbours(v) & second) for v in first)

    return Turnout(
        clients=clients,
        u1=len(u1),
        u2=len(u2),
        u3=len(u3),
        u5=len(u5),
        listed=pairs(u1, u1),
        dealt=pairs(u2, u1),
        delivered=pairs(u2, u2),
        asked=pairs(u3, u2),
        revealed=pairs(u5, u2),
        orphaned=pairs(u2 - u3, u3),
        reach=1 + max(u3),
    )


def expected_turnout(plan: Plan, gone: Mapping[Step, int]) -> Turnout:
    """Return the turnout if so many clients vanish in each step.

    Exact on the complete graph, and wherever nobody vanishes.  On a k-regular one,
    pairs are the expected ones over the order of the ring, rounded, if who vanishes
    does not depend on it.  ``reach`` is n, its largest value.

    Args:
        plan: Says how many clients and neighbours.
        gone: Clients whose answer to the step, and to all later ones, is lost.

    Raises:
        ParameterError: So many vanish that the round would end without a sum (caller).
    """
    if any(count < 0 for count in gone.values()):
        raise ParameterError("no step can lose fewer than 0 clients.", argument="gone")
    n = plan.clients
    left = [n]
    for step in Step:
        left.append(left[-1] - gone.get(step, 0))
    if left[-1] < plan.threshold:
        raise ParameterError(
            f"{n - left[-1]} clients vanish, but the plan survives {plan.drop}; let "
            "fewer vanish, or plan for more.",
            argument="gone",
        )
    _, u1, u2, u3, u5 = left

    def pairs(ends: int) -> int:
        """Scale ordered pairs of distinct clients to those that are neighbours."""
        return (2 * ends * plan.k + n - 1) // (2 * (n - 1))

    return Turnout(
        clients=n,
        u1=u1,
        u2=u2,
        u3=u3,
        u5=u5,
        listed=pairs(u1 * (u1 - 1)),
        dealt=pairs(u2 * (u1 - 1)),
        delivered=pairs(u2 * (u2 - 1)),
        asked=pairs(u3 * (u2 - 1)),
        revealed=pairs(u5 * (u2 - 1)),
        orphaned=pairs((u2 - u3) * u3),
        reach=n,
    )
