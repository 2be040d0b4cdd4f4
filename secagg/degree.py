"""How many neighbours a client needs, and how many of their shares: k and t.

Bell, Bonawitz, Gascon, Lepoint and Raykova, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", CCS 2020, on the Harary graph: n clients stand in a ring in
random order, and each is a neighbour of the k/2 before and the k/2 behind it.  Whoever
colludes (A) or vanishes (D) was named before the order was drawn.  Bad events:

1. Of the k neighbours at some place, X are colluders and X is too many: the server can
   collect both secrets of a client.  If it is semi-honest, each honest neighbour shows
   a share of one kind, and the colluders have the other: it takes X >= t.  If it lies,
   it splits the honest neighbours in two halves: it takes 2 t <= k + X.
2. The graph of the honest survivors falls apart, and each part has a sum of its own.
   It takes two runs of k/2 places that hold colluders and dropouts only, and somebody
   between them on both sides.
3. Fewer than t of the neighbours at some place are left: the sum is lost.

X is hypergeometric, with k draws out of n of which A are marked; so is the number of
neighbours left, with n - D marked.  The sum over all n places bounds the chance that
any place is bad, honest or not; that is why the population is n and not n - 1.  Events
1 and 2 may have 2^-(sigma+1) each, event 3 2^-eta.

This module draws no graph and knows no rates: all numbers are counts of clients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from secagg.tails import all_marked_log2, lower_quantile, upper_quantile

MAX_DEGREE: Final = 65534
"""A degree travels in two bytes, and is even."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked of a k-regular graph.

    Attributes:
        clients: n.
        corrupt: A, at least 1.
        drop: D.
        server_lies: Whether the server may split the views of the clients.
        sigma: Privacy fails with a probability below 2^-sigma.
        eta: The sum is lost with a probability below 2^-eta.
    """

    clients: int
    corrupt: int
    drop: int
    server_lies: bool
    sigma: int
    eta: int

    def most_corrupt(self, k: int) -> int:
        """Return a number of colluding neighbours that no client exceeds (event 1)."""
        budget = -(self.sigma + 1) - math.log2(self.clients)
        return upper_quantile(self.clients, self.corrupt, k, budget_log2=budget)

    def fewest_left(self, k: int) -> int:
        """Return a number of neighbours that each client keeps (event 3)."""
        budget = -self.eta - math.log2(self.clients)
        left = self.clients - self.drop
        return lower_quantile(self.clients, left, k, budget_log2=budget)

    def stays_connected(self, k: int) -> bool:
        """Tell whether event 2 is rare enough; if so, it is for every larger k."""
        n = self.clients
        runs = math.log2(n) + math.log2(n - k - 1) - 1  # pairs of places to cut at
        bad = self.corrupt + self.drop
        return runs + all_marked_log2(n, bad, k) < -(self.sigma + 1)

    def smallest_threshold(self, k: int) -> int:
        """Return the smallest t that keeps secrets from the server and colluders."""
        corrupt = self.most_corrupt(k)
        return (k + corrupt) // 2 + 1 if self.server_lies else max(corrupt + 1, 2)

    def accepts(self, k: int, t: int) -> bool:
        """Tell whether all three events are rare enough."""
        return (
            k % 2 == 0
            and 2 <= k <= min(self.clients - 2, MAX_DEGREE)
            and self.smallest_threshold(k) <= t <= self.fewest_left(k)
            and self.stays_connected(k)
        )

    def smallest(self) -> tuple[int, int] | None:
        """Return the smallest even k with a threshold that passes, and that threshold.

        k that cannot pass are leapt over: one neighbour more raises the shares that
        are left by one at most, and those that are needed never fall, so that a lack of
        g shares takes at least g more neighbours.  (If the server lies, the lack is
        counted in half shares, and the same holds.)
        """
        largest = min(self.clients - 2, MAX_DEGREE)
        k = 2
        while k <= largest:
            lack = self._lack(k)
            if lack <= 0 and self.stays_connected(k):
                return k, self.smallest_threshold(k)
            k += max(2, lack + lack % 2)
        return None

    def _lack(self, k: int) -> int:
        """Return how far k neighbours are from having enough shares left."""
        corrupt, left = self.most_corrupt(k), self.fewest_left(k)
        if self.server_lies:  # 2 t > k + corrupt for some t <= left
            return k + corrupt + 1 - 2 * left
        return max(corrupt + 1, 2) - left
