"""What a round agrees on, and the guarantee that follows from it, in integers.

With n clients, A colluders and D dropouts, n - D clients must remain in every step.
Each client deals its two secrets to k others, its neighbours, of whom t give one back;
nobody holds a share of its own secrets.  There are two graphs:

*Complete* (k = n - 1, t = n - D - 1): Bonawitz et al., "Practical Secure Aggregation
for Privacy-Preserving Machine Learning", CCS 2017.  A semi-honest server would need
A >= t colluders.  One that lies can split the n - 1 - A honest holders of a secret into
two halves: it would need 2 t <= n - 1 + A.  Nothing is left to chance.

*k-regular*: Bell et al., CCS 2020; ``degree`` has the bounds.  A semi-honest server
gets one sum, over all honest survivors.  One that lies also picks who vanishes, and
could cut the ring where it likes.  But it takes t shares to open the mask of a client's
own, at least t - X of them from honest neighbours, if X collude.  They all took the
client and themselves for survivors and, in the protocol that such a server needs, have
the signatures of t neighbours on that; so no mask key of theirs can be opened, and they
and the client are in one sum.  That, and no more, is claimed then.

This module searches no graph (that is ``planning``).  A plan against a server that lies
states its numbers; no round can be run under it yet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from secagg import usage
from secagg.degree import Demand
from secagg.encoder import ENCODER_BYTES, Encoder, decode_encoder
from secagg.errors import DecodeError, ParameterError
from secagg.feasibility import (
    SEMI_HONEST,
    check_complete,
    check_counts,
    check_runnable,
    check_whole,
    sparse_demand,
)

SIGMA: Final = 40
ETA: Final = 30
_COMPLETE = struct.Struct("<BBHHH")  # the encoder's own bytes come last
_SPARSE = struct.Struct("<BBIIIHHBBB")
PLAN_BYTES: Final = {
    number: (_SPARSE if suite.sparse else _COMPLETE).size + ENCODER_BYTES
    for number, suite in usage.SUITES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The agreed integers of a round; hashable, and bound into every derived key.

    Without ``k`` it is a plan on the complete graph: k and t follow, nothing is left to
    chance, and the last three are None, whatever is given.

    Attributes:
        clients: n, the cohort that is invited.
        corrupt: A, clients that may pool all they know with the server.
        drop: D, clients that may vanish, in any step.
        encoder: How vectors become integers.
        threat: ``"semi_honest"`` or ``"malicious_server"``.
        k: Neighbours of a client, itself excluded.
        t: Neighbours whose shares give a client's secret back.
        sigma: Privacy fails with probability below 2^-sigma; default 40.
        eta: The sum is lost with probability below 2^-eta; default 30.
        grinding_bits: The server may choose among 2^grinding_bits graphs; default 0.
        cipher: What masks are drawn with, ``"aes-256-ctr"`` or ``"chacha20"``.

    Raises:
        ParameterError: The integers give no guarantee, or the cipher is unknown
            (caller).
    """

    clients: int
    corrupt: int
    drop: int
    encoder: Encoder = field(default_factory=Encoder)
    threat: str = SEMI_HONEST
    k: int = 0
    t: int = 0
    sigma: int | None = None
    eta: int | None = None
    grinding_bits: int | None = None
    cipher: str = usage.AES_256_CTR

    def __post_init__(self) -> None:
        usage.check_cipher(self.cipher)
        check_counts(self.clients, self.corrupt, self.drop, self.threat)
        if not isinstance(self.encoder, Encoder):
            raise ParameterError("encoder must be an Encoder.", argument="encoder")
        self.encoder.ring_bits(self.clients)
        others = self.clients - 1
        if check_whole("k", self.k) in (0, others):
            check_complete(self.clients, self.corrupt, self.drop, self.threat)
            t = others - self.drop
            if check_whole("t", self.t) not in (0, t):
                raise ParameterError(
                    f"t={self.t} must be {t} on the complete graph; leave k and t out.",
                    argument="t",
                )
            self._fill(k=others, t=t, sigma=None, eta=None, grinding_bits=None)
            return
        self._fill(
            sigma=SIGMA if self.sigma is None else self.sigma,
            eta=ETA if self.eta is None else self.eta,
            grinding_bits=self.grinding_bits or 0,
        )
        if not self._demand.accepts(self.k, check_whole("t", self.t)):
            raise ParameterError(
                f"k={self.k} and t={self.t} do not keep failures below 2^-{self.sigma} "
                f"and 2^-{self.eta} for clients={self.clients}, "
                f"corrupt={self.corrupt}, drop={self.drop}; take both from "
                "secagg.plan(...).",
                argument="k",
            )

    @property
    def complete(self) -> bool:
        """Tell whether everybody is everybody's neighbour."""
        return self.k == self.clients - 1

    @property
    def threshold(self) -> int:
        """Return n - D, the clients that must remain in every step."""
        return self.clients - self.drop

    @property
    def share_threshold(self) -> int:
        """Return t: shares, held by neighbours, that give a client's secret."""
        return self.t

    @property
    def honest_min(self) -> int:
        """Return h, the fewest honest inputs in a released sum that holds any."""
        if self.complete or self.threat == SEMI_HONEST:
            return self.threshold - self.corrupt
        return self.t - self._demand.most_corrupt(self.k) + 1

    def require_runnable(self) -> None:
        """Refuse to run what can only be planned.

        Raises:
            ParameterError: No round runs under this plan in this release (caller).
        """
        check_runnable(self.clients, self.threat, complete=self.complete)

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            ParameterError: No round runs under this plan (caller).
        """
        self.require_runnable()
        tail = self.encoder.encode()
        counts = (self.clients, self.corrupt, self.drop)
        suite = usage.Suite(sparse=not self.complete, cipher=self.cipher)
        head = (usage.VERSION, usage.SUITE_BYTES[suite])
        if self.complete:
            return _COMPLETE.pack(*head, *counts) + tail
        chance = (self.sigma, self.eta, self.grinding_bits)
        return _SPARSE.pack(*head, *counts, self.k, self.t, *chance) + tail

    def digest(self) -> bytes:
        """Hash the canonical bytes."""
        return usage.digest(usage.TAG_PLAN, self.encode())

    def __str__(self) -> str:
        honest = self.threat == SEMI_HONEST
        graph = "complete graph" if self.complete else "k-regular graph"
        others = (
            f"the server together with any {_count(self.corrupt, 'client')}"
            if self.corrupt
            else "the server alone, with no client's help,"
        )
        trust = (
            f"if the server follows the protocol (semi-honest, {graph})"
            if honest
            else f"even if the server lies (malicious server, {graph}; this release "
            "plans it and does not run it)"
        )
        promise = (
            f"any {self.drop} may vanish in any step; {others} learns nothing but "
            f"weighted sums that hold at least {self.honest_min} honest inputs, {trust}"
        )
        if self.complete:
            return f"{self.clients} clients, threshold {self.threshold}: {promise}."
        return (
            f"{self.clients} clients of {self.k} neighbours each, threshold {self.t} "
            f"among those: {promise}. The latter fails with probability below "
            f"2^-{self.sigma}, and the sum is lost with probability below "
            f"2^-{self.eta}, if who colludes{' and who vanishes' if honest else ''} "
            "does not depend on the graph."
        )

    @property
    def _demand(self) -> Demand:
        return sparse_demand(
            self.clients,
            self.corrupt,
            self.drop,
            threat=self.threat,
            sigma=SIGMA if self.sigma is None else self.sigma,
            eta=ETA if self.eta is None else self.eta,
            grinding_bits=self.grinding_bits or 0,
        )

    def _fill(self, **derived: int | None) -> None:
        for name, value in derived.items():
            object.__setattr__(self, name, value)


@lru_cache(maxsize=64)  # its bounds take time to check, and rounds repeat it
def decode_plan(data: bytes) -> Plan:
    """Read the canonical bytes of a plan.

    Raises:
        DecodeError: They are not the encoding of a valid plan (peer).
    """
    size = plan_bytes(data)
    if len(data) != size:
        raise DecodeError(f"a plan has {size} bytes, got {len(data)}.")
    head, tail = data[:-ENCODER_BYTES], data[-ENCODER_BYTES:]
    suite = usage.SUITES[data[1]]
    fields = {}
    if not suite.sparse:
        _, _, n, corrupt, drop = _COMPLETE.unpack(head)
    else:
        _, _, n, corrupt, drop, k, t, sigma, eta, grinding = _SPARSE.unpack(head)
        names = ("k", "t", "sigma", "eta", "grinding_bits")
        fields = dict(zip(names, (k, t, sigma, eta, grinding), strict=True))
    encoder = decode_encoder(tail)
    try:
        plan = Plan(
            clients=n,
            corrupt=corrupt,
            drop=drop,
            encoder=encoder,
            cipher=suite.cipher,
            **fields,
        )
        if plan.encode() != data:
            raise DecodeError("received plan is not in canonical encoding.")
    except ParameterError as error:
        raise DecodeError(f"received plan is invalid: {error}") from error
    return plan


def plan_bytes(start: bytes) -> int:
    """Return the size of a plan from its first two bytes.

    Raises:
        DecodeError: They are not version and suite of a plan (peer).
    """
    if len(start) < 2 or start[0] != usage.VERSION or start[1] not in PLAN_BYTES:
        raise DecodeError(
            f"a plan starts with {start[:2].hex()}, expected version {usage.VERSION} "
            f"and a suite in {min(PLAN_BYTES)}..{max(PLAN_BYTES)}; use one release "
            "everywhere."
        )
    return PLAN_BYTES[start[1]]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
