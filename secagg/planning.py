"""From who may collude and who may vanish to a plan, or to why there is none.

``plan`` picks the graph and, on the k-regular one, the smallest degree that the bounds
of Bell et al., CCS 2020, allow (``degree``).  It runs nothing and draws nothing.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from secagg.degree import MAX_DEGREE, Demand
from secagg.encoder import Encoder
from secagg.errors import ParameterError
from secagg.feasibility import (
    MAX_CLIENTS,
    SEMI_HONEST,
    check_counts,
    check_whole,
    sparse_demand,
)
from secagg.params import ETA, SIGMA, Plan
from secagg.usage import AES_256_CTR

AUTO: Final = "auto"
COMPLETE: Final = "complete"
K_REGULAR: Final = "k-regular"
GRAPHS: Final = (AUTO, COMPLETE, K_REGULAR)
SPARSE_FROM: Final = 64
"""Clients from which on ``"auto"`` looks for a k-regular graph: below, a round costs
little on any graph, and one whose guarantee leaves nothing to chance is preferred."""


def plan(
    clients: int,
    corrupt: int | float,
    drop: int | float,
    threat: str = SEMI_HONEST,
    sigma: int = SIGMA,
    eta: int = ETA,
    grinding_bits: int = 0,
    graph: str = AUTO,
    *,
    encoder: Encoder | None = None,
    cipher: str = AES_256_CTR,
) -> Plan:
    """Derive degree and thresholds from who may collude and who may vanish.

    Guarantee: whatever ``drop`` clients vanish, the round yields the sum; the server
    and any ``corrupt`` clients learn nothing but sums that hold at least ``honest_min``
    honest inputs.  On the complete graph that is certain.  On the k-regular one the
    first may fail with probability 2^-eta and the second with 2^-sigma, over the order
    of the clients, if who colludes and who vanishes does not depend on that order.
    ``print(plan(...))`` says it.

    Args:
        clients: Size of the cohort, 2..1024 on the complete graph, up to 2^30 else.
        corrupt: Colluding clients, an integer, or a fraction below 1 (rounded down, but
            never to zero).  There is no default: write 0 to trust every client.
        drop: Dropouts to survive, an integer, or a fraction below 1 (rounded down).
        threat: ``"semi_honest"``, or ``"malicious_server"``, under which no round runs
            yet.
        sigma: Exponent of the probability that privacy fails, 1..128.
        eta: Exponent of the probability that the sum is lost, 1..128.
        grinding_bits: log2 of the graphs among which the server may choose, 0..128.
        graph: ``"complete"``, ``"k-regular"`` with the smallest even degree, or
            ``"auto"``: k-regular from 64 clients on, where somebody is corrupt and it
            at least halves the neighbours, else complete.
        encoder: Default ``Encoder()``, with a smaller ``weight_max`` where more than
            2^24 clients would not fit its ring.
        cipher: What masks are drawn with: ``"aes-256-ctr"``, or ``"chacha20"`` where
            processors lack instructions for AES.

    Raises:
        ParameterError: The numbers give no guarantee; the message says which would
            (caller).

    Source:
        Bonawitz et al., CCS 2017, and Bell et al., CCS 2020.
    """
    if graph not in GRAPHS:
        raise ParameterError(
            f"graph={graph!r} is unknown; use one of {', '.join(map(repr, GRAPHS))}.",
            argument="graph",
        )
    n = check_whole("clients", clients)
    corrupted = _part("corrupt", corrupt, n)
    if corrupted == 0 and corrupt != 0:
        raise ParameterError(
            f"corrupt={corrupt} of {n} clients rounds down to nobody; pass corrupt=1, "
            "or corrupt=0 to trust every client.",
            argument="corrupt",
        )
    dropped = _part("drop", drop, n)
    check_counts(n, corrupted, dropped, threat)
    k = t = 0
    auto = graph == AUTO and corrupted > 0
    wanted = graph == K_REGULAR or (auto and n > MAX_CLIENTS)
    if wanted or (auto and n >= SPARSE_FROM):
        demand = sparse_demand(
            n,
            corrupted,
            dropped,
            threat=threat,
            sigma=sigma,
            eta=eta,
            grinding_bits=grinding_bits,
        )
        k, t = _degree(demand, wanted=wanted)
    return Plan(
        clients=n,
        corrupt=corrupted,
        drop=dropped,
        encoder=_encoder(n) if encoder is None else encoder,
        threat=threat,
        k=k,
        t=t,
        sigma=sigma,
        eta=eta,
        grinding_bits=grinding_bits,
        cipher=cipher,
    )


def _degree(demand: Demand, *, wanted: bool) -> tuple[int, int]:
    """Return the smallest degree and its threshold, or zeros for the complete graph."""
    found = demand.smallest()
    if found is None and wanted:
        raise ParameterError(_infeasible(demand), argument="drop")
    if found is None or (not wanted and 2 * found[0] > demand.clients - 1):
        return 0, 0
    return found


def _infeasible(demand: Demand) -> str:
    """Say why there is no k-regular graph, and what to change."""
    n, corrupt, drop = demand.clients, demand.corrupt, demand.drop
    low, high = -1, drop  # drop = high is not feasible; drop = low is, or is -1
    while high - low > 1:
        middle = (low + high) // 2
        feasible = replace(demand, drop=middle).smallest() is not None
        low, high = (middle, high) if feasible else (low, middle)
    cures = [f"drop <= {low}"] * (low >= 0) + ["graph='complete'"] * (n <= MAX_CLIENTS)
    return (
        f"no k-regular graph with k <= {min(n - 2, MAX_DEGREE)} serves clients={n}, "
        f"corrupt={corrupt} and drop={drop}: too often a client would have too many "
        f"colluders or too few survivors among its neighbours; use "
        f"{' or '.join(cures) or 'fewer colluders'}."
    )


def _encoder(clients: int) -> Encoder:
    """Return the default encoder, its weights bounded so that its ring has 64 bits."""
    usual = Encoder()
    room = 1 << (64 - usual.value_bits)
    return Encoder(weight_max=min(usual.weight_max, room // max(clients, 1)))


def _part(name: str, value: int | float, n: int) -> int:
    """Read an integer, or a fraction of ``n`` rounded down."""
    if isinstance(value, float):
        if not 0 <= value < 1:
            raise ParameterError(
                f"{name}={value} must be an integer or a fraction in 0..1.",
                argument=name,
            )
        # The decimal that was written, not its binary neighbour: 0.29 of 100 is 29.
        return int(Fraction(repr(value)) * n)
    return check_whole(name, value)
