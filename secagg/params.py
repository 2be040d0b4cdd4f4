"""What a round agrees on, and the guarantee that follows from it, in integers.

Double masking on the complete graph against a semi-honest server: Bonawitz et al.,
"Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017.  With
n clients, A colluders and D dropouts, t = n - D clients must remain in every step.
Nobody holds a share of its own secrets, so secrets are shared (t-1)-of-(n-1), and the
server with A <= t - 2 colluders cannot collect t - 1 shares of both kinds.

What it does not do: no sparse graphs (hence no failure probabilities), and no malicious
server; asking for one is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from secagg import usage
from secagg.encoder import Encoder
from secagg.errors import DecodeError, ParameterError

SEMI_HONEST: Final = "semi_honest"
MAX_CLIENTS: Final = 1024
"""On the complete graph the traffic of shares grows with the square of this."""

MIN_HONEST: Final = 2
_PLAN = struct.Struct("<BBHHHdBI")
PLAN_BYTES: Final = _PLAN.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The agreed integers of a round; hashable, and bound into every derived key.

    Attributes:
        clients: n, the cohort that is invited.
        corrupt: A, clients that may pool all they know with the server.
        drop: D, clients that may vanish, in any step.
        encoder: How vectors become integers.

    Raises:
        ParameterError: The integers give no guarantee (caller).
    """

    clients: int
    corrupt: int
    drop: int
    encoder: Encoder = field(default_factory=Encoder)

    def __post_init__(self) -> None:
        n = _whole("clients", self.clients)
        corrupt, drop = _whole("corrupt", self.corrupt), _whole("drop", self.drop)
        if not isinstance(self.encoder, Encoder):
            raise ParameterError("encoder must be an Encoder.", argument="encoder")
        if not 2 <= n <= MAX_CLIENTS:
            raise ParameterError(
                f"clients={n} must lie in 2..{MAX_CLIENTS} on the complete graph.",
                argument="clients",
            )
        if not 0 <= corrupt < n:
            raise ParameterError(
                f"corrupt={corrupt} must lie in 0..{n - 1} for {n} clients.",
                argument="corrupt",
            )
        if not 0 <= drop < n:
            raise ParameterError(
                f"drop={drop} must lie in 0..{n - 1} for {n} clients.", argument="drop"
            )
        if n - drop - corrupt < MIN_HONEST:
            raise ParameterError(_too_few_honest(n, corrupt, drop), argument="drop")
        self.encoder.ring_bits(n)

    @property
    def threshold(self) -> int:
        """Return t = n - D, the clients that must remain in every step."""
        return self.clients - self.drop

    @property
    def share_threshold(self) -> int:
        """Shares, held by others, that give a client's secret."""
        return self.threshold - 1

    @property
    def honest_min(self) -> int:
        """Return h = t - A, the fewest honest inputs in a released sum."""
        return self.threshold - self.corrupt

    def encode(self) -> bytes:
        """Return the canonical bytes of the plan."""
        return _PLAN.pack(
            usage.VERSION,
            usage.SUITE,
            self.clients,
            self.corrupt,
            self.drop,
            float(self.encoder.clip_norm_l2),
            self.encoder.value_bits,
            self.encoder.weight_max,
        )

    def digest(self) -> bytes:
        """Hash the canonical bytes."""
        return usage.digest(usage.TAG_PLAN, self.encode())

    def __str__(self) -> str:
        others = (
            f"the server together with any {_count(self.corrupt, 'client')}"
            if self.corrupt
            else "the server alone, with no client's help,"
        )
        return (
            f"{self.clients} clients, threshold {self.threshold}: any {self.drop} may "
            f"vanish in any step; {others} learns nothing but weighted sums that hold "
            f"at least {self.honest_min} honest inputs, if the server follows the "
            "protocol (semi-honest, complete graph)."
        )


def decode_plan(data: bytes) -> Plan:
    """Read the canonical bytes of a plan.

    Raises:
        DecodeError: They are not the encoding of a valid plan (peer).
    """
    if len(data) != PLAN_BYTES:
        raise DecodeError(f"a plan has {PLAN_BYTES} bytes, got {len(data)}.")
    version, suite, n, corrupt, drop, clip, value_bits, weight_max = _PLAN.unpack(data)
    if (version, suite) != (usage.VERSION, usage.SUITE):
        raise DecodeError(
            f"plan has version {version} and suite {suite}, expected {usage.VERSION} "
            f"and {usage.SUITE}."
        )
    try:
        encoder = Encoder(
            clip_norm_l2=clip, value_bits=value_bits, weight_max=weight_max
        )
        return Plan(clients=n, corrupt=corrupt, drop=drop, encoder=encoder)
    except ParameterError as error:
        raise DecodeError(f"received plan is invalid: {error}") from error


def plan(
    *,
    clients: int,
    corrupt: int | float,
    drop: int | float,
    threat: str = SEMI_HONEST,
    encoder: Encoder | None = None,
) -> Plan:
    """Derive thresholds from who may collude and who may vanish.

    Guarantee against a semi-honest server: whatever ``drop`` clients vanish, the round
    yields the sum; the server and any ``corrupt`` clients learn nothing but sums that
    hold at least ``honest_min`` honest inputs.  ``print(plan(...))`` says it.

    Args:
        clients: Size of the cohort, 2..1024.
        corrupt: Colluding clients, an integer, or a fraction below 1 (rounded down, but
            never to zero).  There is no default: write 0 to trust every client.
        drop: Dropouts to survive, an integer, or a fraction below 1 (rounded down).
        threat: Only ``"semi_honest"`` is supported.
        encoder: Default ``Encoder()``.

    Raises:
        ParameterError: The numbers give no guarantee; the message says which would
            (caller).

    Source:
        Bonawitz et al., CCS 2017: double masking, honest-but-curious setting.
    """
    if threat != SEMI_HONEST:
        raise ParameterError(
            f"threat={threat!r} is not supported; use threat={SEMI_HONEST!r} and rely "
            "on the server to follow the protocol.",
            argument="threat",
        )
    n = _whole("clients", clients)
    corrupted = _part("corrupt", corrupt, n)
    if corrupted == 0 and corrupt != 0:
        raise ParameterError(
            f"corrupt={corrupt} of {n} clients rounds down to nobody; pass corrupt=1, "
            "or corrupt=0 to trust every client.",
            argument="corrupt",
        )
    return Plan(
        clients=n,
        corrupt=corrupted,
        drop=_part("drop", drop, n),
        encoder=Encoder() if encoder is None else encoder,
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
    return _whole(name, value)


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name}={value!r} must be an integer.", argument=name)
    return value


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
