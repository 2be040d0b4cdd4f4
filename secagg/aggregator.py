"""One interface for every way to add up clients' vectors, and its two first members.

``Aggregator`` is what federated training asks of aggregation: the weighted mean of the
survivors, its error bound, its cost, and what the server saw.  ``PlainSum`` protects
nothing and is the baseline; ``PairwiseMask`` is secure aggregation as in ``round``.
Both carry real bytes.  One contract suite (tests/contract) runs over all members.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.errors import AbortError, ParameterError
from secagg.invite import SERVER, Step
from secagg.noise import Noise
from secagg.params import Plan
from secagg.round import run_round
from secagg.transcript import Transcript, Wire
from secagg.upload import PlainInput

NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
PLAIN_WEIGHT_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """A weighted mean, its cost, and what the server saw.

    Attributes:
        mean: Over the survivors, shape (length,), float32.
        weight: Total weight of the survivors.
        survivors: Clients whose vector is in the mean.
        max_error: Bound on |mean - true weighted mean| per coordinate.
        bytes_up: Bytes that each client sent.
        bytes_down: Bytes that were sent to each client.
        client_cpu_s: Mean computing time of one client, of all threads; whatever else
            the process computes meanwhile is in it.
        server_cpu_s: Computing time of the server, the same.
        transcript: Every message to and from the server.
    """

    mean: NDArray[np.float32] = field(repr=False)
    weight: int
    survivors: frozenset[str]
    max_error: float
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    client_cpu_s: float
    server_cpu_s: float
    transcript: Transcript = field(repr=False)


class Aggregator(Protocol):
    """Adds up clients' vectors; ``name`` identifies the protection in records."""

    @property
    def name(self) -> str:
        """Short lower-case name."""

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the weighted mean of the clients that survive this round.

        Args:
            vectors: One per client, shape (length,), finite.
            weights: Positive integer weights, for the same clients.
            context: 32 bytes from ``secagg.context``.
            session: Names the round.
            vanish: Step from which a client is silent, as in ``run_round``.
            seed: None for the operating system's randomness; a seed repeats the round
                bit for bit and protects nothing.

        Raises:
            ParameterError: An argument is outside its contract (caller).
            AbortError: Too few clients survived.
        """


class PlainSum:
    """No protection: the server sees every vector and weight."""

    name: ClassVar[str] = "none"

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the mean, accumulated in float64; see ``Aggregator.aggregate``."""
        check_clients(vectors, weights, vanish)
        round_id = usage.digest(usage.TAG_ROUND, b"plain", session, context)
        roster = sorted(vectors)
        # A client that is silent only from "unmask" on has already uploaded.
        uploading = [n for n in roster if vanish.get(n, Step.UNMASK) == Step.UNMASK]
        began = time.process_time()
        wires = []
        for name in uploading:
            vector = _plain_vector(name, vectors[name])
            upload = PlainInput.of(round_id, vector, weights[name]).encode()
            wires.append(Wire(Step.MASKED_INPUT.value, name, SERVER, upload))
        sent = time.process_time()
        if not wires:
            raise AbortError(
                "every client vanished before its upload.",
                step=Step.MASKED_INPUT,
                need=1,
                have=0,
            )
        mean, weight, largest = _weighted_mean(wires)
        done = time.process_time()
        transcript = Transcript(tuple(wires))
        return Aggregate(
            mean=mean.astype(np.float32),
            weight=weight,
            survivors=frozenset(uploading),
            # Half a unit in the last place of float32, doubled for float64 rounding;
            # subnormal float32 have an absolute one.
            max_error=largest * 2.0**-23 + 2.0**-149,
            bytes_up=transcript.bytes_up(roster),
            bytes_down=transcript.bytes_down(roster),
            client_cpu_s=(sent - began) / len(roster),
            server_cpu_s=done - sent,
            transcript=transcript,
        )


@dataclass(frozen=True, slots=True)
class PairwiseMask:
    """Secure aggregation by pairwise masks; the server sees masked vectors only.

    Attributes:
        plan: What is agreed.
        noise: Draws each client's share of the noise, as in ``Client.offer``.
    """

    name: ClassVar[str] = "secagg"
    plan: Plan
    noise: Noise | None = None

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the mean of one ``run_round``; see ``Aggregator.aggregate``."""
        check_clients(vectors, weights, vanish)
        result = run_round(
            self.plan,
            vectors,
            weights=weights,
            vanish=vanish,
            context=context,
            session=session,
            seed=seed,
            noise=self.noise,
        )
        return Aggregate(
            mean=result.mean,
            weight=result.weight,
            survivors=result.survivors,
            max_error=result.max_error,
            bytes_up=result.bytes_up_per_client,
            bytes_down=result.bytes_down_per_client,
            client_cpu_s=result.client_cpu_s,
            server_cpu_s=result.server_cpu_s,
            transcript=result.transcript,
        )


def check_clients(
    vectors: Mapping[str, NDArray[np.float32]],
    weights: Mapping[str, int],
    vanish: Mapping[str, str],
) -> None:
    """Check what every aggregator asks of its arguments.

    Raises:
        ParameterError: an argument is outside its contract (caller).
    """
    if not vectors or set(weights) != set(vectors) or not set(vanish) <= set(vectors):
        raise ParameterError(
            "vectors and weights must name the same clients, and vanish some of them.",
            argument="vectors",
        )
    if len({np.shape(vector) for vector in vectors.values()}) != 1:
        raise ParameterError(
            "all vectors must have one common length.", argument="vectors"
        )
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int):
            raise ParameterError(
                f"weight of {name!r} must be an int, got {type(weight).__name__}.",
                argument="weights",
            )
        if not 1 <= weight <= PLAIN_WEIGHT_MAX:
            raise ParameterError(
                f"weight of {name!r} must lie in 1..{PLAIN_WEIGHT_MAX}.",
                argument="weights",
            )
    for name, step in vanish.items():
        if step not in set(Step):
            raise ParameterError(
                f"vanish[{name!r}]={step!r} is not a step; use one of "
                f"{', '.join(Step)}.",
                argument="vanish",
            )


def _plain_vector(name: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    values = np.asarray(vector)
    if values.dtype.kind == "f" and values.ndim == 1:
        with np.errstate(over="ignore"):  # caught by the check for infinities
            single = values.astype(np.float32)
        if np.isfinite(single).all():
            return single
    raise ParameterError(
        f"vector of {name!r} must be flat, floating and finite in float32.",
        argument="vectors",
    )


def _weighted_mean(
    wires: list[Wire],
) -> tuple[NDArray[np.float64], int, float]:
    """Return mean, total weight and the largest magnitude of any input."""
    total: NDArray[np.float64] | None = None
    weight, largest = 0, 0.0
    for wire in wires:
        plain = PlainInput.decode(wire.data)
        values = plain.values().astype(np.float64)
        largest = max(largest, float(np.abs(values).max(initial=0.0)))
        term = values * plain.weight
        total = term if total is None else total + term
        weight += plain.weight
    if total is None:
        raise AbortError("no upload arrived.", step=Step.MASKED_INPUT, need=1, have=0)
    return total / weight, weight, largest
