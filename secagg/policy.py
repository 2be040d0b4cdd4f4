"""What a client accepts, whatever a server proposes.

A plan is proposed to a client; its policy is the client's own, set where the client
runs.  Floors keep a server from inviting a tiny cohort or lowering the threshold
(Boenisch et al., EuroS&P 2023, arXiv 2301.04017); the roster of Ed25519 keys keeps it
from substituting key pairs.  Without a roster the client trusts the server for keys.

This module does not watch several rounds; ``monitor`` says what their sums reveal
together, and the policy only says how many clients they have to differ by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from secagg.errors import ParameterError
from secagg.feasibility import MAX_EXPONENT, MIN_HONEST, check_range
from secagg.keys import PUBLIC_BYTES
from secagg.params import SIGMA, Plan
from secagg.usage import CIPHERS, check_cipher


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Floors and limits of one client.

    Attributes:
        min_clients: Smallest cohort to take part in.
        min_threshold: Smallest number of clients in a sum.
        min_honest: Smallest number of honest inputs in a sum.
        min_sigma: On a k-regular graph, privacy must fail with probability below
            2^-min_sigma.
        max_clip_norm_l2: Largest clip norm of the encoder.
        max_weight: Largest weight that another client may have.
        ciphers: What masks may be drawn with.
        roster: Ed25519 public keys by client name; if given, every advertised key must
            be signed by its owner.

    Raises:
        ParameterError: A floor is below 2, a limit limits nothing, a cipher is unknown,
            or a roster key is malformed or listed twice (caller).
    """

    min_clients: int = 3
    min_threshold: int = 2
    min_honest: int = MIN_HONEST
    min_sigma: int = SIGMA
    max_clip_norm_l2: float = math.inf
    max_weight: int = (1 << 32) - 1
    ciphers: Set[str] = frozenset(CIPHERS)
    roster: Mapping[str, bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("min_clients", "min_threshold", "min_honest"):
            floor = getattr(self, name)
            if type(floor) is not int or floor < MIN_HONEST:
                raise ParameterError(
                    f"{name}={floor} must be an integer of at least {MIN_HONEST}: a "
                    "sum over one client is its input.",
                    argument=name,
                )
        check_range("min_sigma", self.min_sigma, 1, MAX_EXPONENT)
        if not self.max_clip_norm_l2 > 0:  # so that NaN, which limits nothing, fails
            raise ParameterError(
                f"max_clip_norm_l2={self.max_clip_norm_l2} must be above 0.",
                argument="max_clip_norm_l2",
            )
        if type(self.max_weight) is not int or self.max_weight < 1:
            raise ParameterError(
                f"max_weight={self.max_weight} must be an integer of at least 1.",
                argument="max_weight",
            )
        self._check_ciphers()
        if self.roster is not None:
            frozen = check_identities("roster", self.roster)
            object.__setattr__(self, "roster", frozen)

    def check(self, plan: Plan) -> None:
        """Refuse a plan below a floor or above a limit.

        Raises:
            ParameterError: The first rule broken, with its two numbers (caller).
        """
        floors = [
            ("clients", plan.clients, "min_clients", self.min_clients),
            ("threshold", plan.threshold, "min_threshold", self.min_threshold),
            ("honest_min", plan.honest_min, "min_honest", self.min_honest),
        ]
        if plan.sigma is not None:  # None: privacy cannot fail
            floors.append(("sigma", plan.sigma, "min_sigma", self.min_sigma))
        for name, value, rule, floor in floors:
            if value < floor:
                raise ParameterError(
                    f"the plan has {name}={value}, the policy asks for {rule}={floor}; "
                    "agree on another plan, or lower the floor knowingly.",
                    argument="plan",
                )
        if plan.cipher not in self.ciphers:
            raise ParameterError(
                f"the plan has cipher={plan.cipher!r}, the policy allows "
                f"{', '.join(map(repr, sorted(self.ciphers)))}.",
                argument="plan",
            )
        encoder = plan.encoder
        if encoder.clip_norm_l2 > self.max_clip_norm_l2:
            raise ParameterError(
                f"the plan has clip_norm_l2={encoder.clip_norm_l2}, the policy allows "
                f"at most {self.max_clip_norm_l2}.",
                argument="plan",
            )
        if encoder.weight_max > self.max_weight:
            raise ParameterError(
                f"the plan has weight_max={encoder.weight_max}, the policy allows at "
                f"most {self.max_weight}.",
                argument="plan",
            )

    def min_difference(self, plan: Plan) -> int:
        """Return by how many clients two sums under one context have to differ.

        As many as may collude and ``min_honest`` more, so that the difference is a sum
        over ``min_honest`` honest inputs.
        """
        return plan.corrupt + self.min_honest

    def _check_ciphers(self) -> None:
        if isinstance(self.ciphers, str) or not self.ciphers:
            raise ParameterError(
                f"ciphers={self.ciphers!r} must name at least one cipher; pass a set, "
                f"for example {{{CIPHERS[0]!r}}}.",
                argument="ciphers",
            )
        for cipher in self.ciphers:
            check_cipher(cipher)
        object.__setattr__(self, "ciphers", frozenset(self.ciphers))


def check_identities(
    argument: str, identities: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """Return a frozen copy of Ed25519 public keys by name.

    Raises:
        ParameterError: A key is not 32 bytes, or two names share one, so that one
            party would count as two (caller).
    """
    for name, public in identities.items():
        if not isinstance(public, bytes) or len(public) != PUBLIC_BYTES:
            raise ParameterError(
                f"{argument}[{name!r}] must be an Ed25519 public key of {PUBLIC_BYTES} "
                "bytes; pass IdentityKey.public.",
                argument=argument,
            )
    if len(set(identities.values())) != len(identities):
        raise ParameterError(
            f"{argument} lists one key under two names; give each client its own.",
            argument=argument,
        )
    return MappingProxyType(dict(identities))
