"""Which integers give a guarantee, and what to change where they give none.

The rules are those of Bonawitz et al., CCS 2017, for the complete graph and of Bell et
al., CCS 2020, for the k-regular one (``degree``).  Every refusal is one sentence that
ends with the cure.  This module holds no plan and searches no degree.
"""

from __future__ import annotations

from typing import Final

from secagg.degree import Demand
from secagg.errors import ParameterError

SEMI_HONEST: Final = "semi_honest"
MALICIOUS_SERVER: Final = "malicious_server"
THREATS: Final = (SEMI_HONEST, MALICIOUS_SERVER)

MAX_CLIENTS: Final = 1024
"""On the complete graph the traffic of shares grows with the square of this."""

MAX_SPARSE_CLIENTS: Final = 65_535
"""Of a round on a k-regular graph: a client's index has two bytes."""

MAX_PLANNED: Final = 1 << 30
MAX_EXPONENT: Final = 128
MIN_HONEST: Final = 2


def check_whole(name: str, value: int) -> int:
    """Return a number that is an int and no bool.

    Raises:
        ParameterError: It is something else (caller).
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name}={value!r} must be an integer.", argument=name)
    return value


def check_range(name: str, value: int, low: int, high: int, *, why: str = "") -> int:
    """Return an integer in low..high.

    Raises:
        ParameterError: It is something else (caller).
    """
    if not low <= check_whole(name, value) <= high:
        raise ParameterError(
            f"{name}={value} must lie in {low}..{high}{why}.", argument=name
        )
    return value


def check_counts(clients: int, corrupt: int, drop: int, threat: str) -> None:
    """Check what holds on every graph.

    Raises:
        ParameterError: A number is out of range, or sums would hide nobody (caller).
    """
    if threat not in THREATS:
        raise ParameterError(
            f"threat={threat!r} is unknown; use {' or '.join(map(repr, THREATS))}.",
            argument="threat",
        )
    n = check_range("clients", clients, 2, MAX_PLANNED)
    for name, value in (("corrupt", corrupt), ("drop", drop)):
        check_range(name, value, 0, n - 1, why=f" for {n} clients")
    if n - drop - corrupt < MIN_HONEST:
        raise ParameterError(_too_few_honest(n, corrupt, drop), argument="drop")


def check_complete(clients: int, corrupt: int, drop: int, threat: str) -> None:
    """Check counts that passed ``check_counts`` for the complete graph.

    Raises:
        ParameterError: There are too many clients, or a server that lies could split
            them (caller).
    """
    if clients > MAX_CLIENTS:
        raise ParameterError(
            f"clients={clients} must lie in 2..{MAX_CLIENTS} on the complete graph; "
            "sample a smaller cohort, or use graph='k-regular' with corrupt >= 1.",
            argument="clients",
        )
    # 2 t > n - 1 + A with t = n - D - 1 holders of a secret among the n - 1 others.
    most = (clients - corrupt - 2) // 2
    if threat == MALICIOUS_SERVER and drop > most:
        cure = (
            f"use drop <= {most}"
            if most >= 0
            else f"invite at least {corrupt + 2 * drop + 2} clients"
        )
        raise ParameterError(
            f"clients={clients}, corrupt={corrupt} and drop={drop} let a server that "
            f"lies split the clients in two halves and ask each for another secret; "
            f"{cure}.",
            argument="drop",
        )


def check_runnable(clients: int, threat: str, *, complete: bool) -> None:
    """Refuse to run what can only be planned.

    Raises:
        ParameterError: No round runs like that in this release (caller).
    """
    if threat != SEMI_HONEST:
        raise ParameterError(
            f"threat={threat!r} can be planned but not run yet; plan with "
            f"threat={SEMI_HONEST!r} and rely on the server to follow the protocol.",
            argument="plan",
        )
    most = MAX_CLIENTS if complete else MAX_SPARSE_CLIENTS
    if clients > most:
        raise ParameterError(
            f"clients={clients} can be planned, but a round runs with at most {most}; "
            "sample a smaller cohort.",
            argument="plan",
        )


def sparse_demand(
    clients: int,
    corrupt: int,
    drop: int,
    *,
    threat: str,
    sigma: int,
    eta: int,
    grinding_bits: int,
) -> Demand:
    """Return what counts that passed ``check_counts`` ask of a k-regular graph.

    Raises:
        ParameterError: An exponent is out of range, or nobody is corrupt (caller).
    """
    check_range("sigma", sigma, 1, MAX_EXPONENT)
    check_range("eta", eta, 1, MAX_EXPONENT)
    check_range("grinding_bits", grinding_bits, 0, MAX_EXPONENT)
    if corrupt == 0:
        raise ParameterError(
            "corrupt=0 is refused on the k-regular graph, where two clients would hold "
            "any client's secrets; pass corrupt >= 1, or graph='complete'.",
            argument="corrupt",
        )
    return Demand(
        clients=clients,
        corrupt=corrupt,
        drop=drop,
        server_lies=threat == MALICIOUS_SERVER,
        # The best of 2^g graphs fails 2^g times as often, at most.
        sigma=sigma + grinding_bits,
        eta=eta,
    )


def _too_few_honest(n: int, corrupt: int, drop: int) -> str:
    reason = (
        f"clients={n}, corrupt={corrupt} and drop={drop} leave sums of "
        f"{max(0, n - drop - corrupt)} honest inputs, but at least {MIN_HONEST} are "
        "needed to hide one"
    )
    if n - corrupt >= MIN_HONEST:
        return f"{reason}; use drop <= {n - corrupt - MIN_HONEST}."
    return f"{reason}; invite at least {corrupt + drop + MIN_HONEST} clients."
