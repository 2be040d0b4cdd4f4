"""``ApproximateSum``: aggregation under CKKS, as common deployments have it.

For comparison with them, and for those who run them: ``EncryptedSum`` is exact, sends a
quarter, and what it decrypts to may be published.  Weights travel inside the encrypted
vector, and the mean is divided after decryption.

The server, who follows the protocol and has no client's help, learns from the messages
neither vectors nor weights nor the sum, but who took part; that holds while nothing
decrypted reaches it (``ckks_result``).  So what ``play`` gives is ``ClientsOnly``, and
``ApproximateSum`` is no ``Aggregator``: ``at_clients()`` is one, for code that stands
where the clients stand.  With one client's key the server reads everybody.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.aggregator import NOBODY, Aggregate, check_clients
from secagg.approximate import ApproximateInput
from secagg.approximate_frame import ApproximateFrame
from secagg.errors import ParameterError
from secagg.he.channel import Channel
from secagg.he.ckks_keyring import KeyRing
from secagg.he.ckks_result import ClientsOnly
from secagg.he.ckks_round import ApproximateRound, open_upload
from secagg.he.ckks_slots import ApproximateMean
from secagg.he.ckks_summer import ApproximateSummer
from secagg.invite import SERVER, Step
from secagg.prg import simulation_rng
from secagg.transcript import Transcript, Upload, Wire


@dataclass(frozen=True, slots=True, eq=False)
class ApproximateAggregate:
    """What a round gave: to the clients the mean, to all others its cost.

    Attributes:
        result: The mean, its weight and its error bound.
        survivors: Clients whose vector is in the mean.
        client_cpu_s: Encoding, encryption and decryption of one client.
        server_cpu_s: Of the server.
        transcript: Every message to and from the server.
    """

    result: ClientsOnly[ApproximateMean]
    survivors: frozenset[str]
    client_cpu_s: float
    server_cpu_s: float
    transcript: Transcript = field(repr=False)


@dataclass(frozen=True)
class ApproximateSum:
    """CKKS under one key that all clients share; the mean is for clients only.

    N = 8192, primes of 60, 40 and 40 bits, scale 2^40, symmetric.  Each coordinate of
    the mean is within ``ApproximateMean.max_error``, whatever the randomness.  Pickled
    or copied, it goes without its keys, and makes others.

    Attributes:
        clip_norm_l2: Largest L2 norm of a vector.
        weight_max: Largest weight.
        clients: The most clients of one sum.

    Raises:
        ParameterError: The total weight of such a sum could not be told exactly
            (caller).
    """

    name: ClassVar[str] = "he-ckks"
    clients: int
    clip_norm_l2: float = 16.0
    weight_max: int = 65535
    _keys: KeyRing = field(
        default_factory=KeyRing, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._frame(1)

    def __reduce__(self) -> tuple[Any, ...]:
        return ApproximateSum, (self.clients, self.clip_norm_l2, self.weight_max)

    def at_clients(self) -> AtClients:
        """Return the ``Aggregator`` of code whose every result stays with clients."""
        return AtClients(self)

    def play(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> ApproximateAggregate:
        """Play one round; arguments and errors as ``Aggregator.aggregate``.

        Making the key and SEAL's tables is set-up and in neither cost, but for the
        tables of each ciphertext that a seed asks for.

        Raises:
            MissingTensealError: TenSEAL is not installed (caller).
        """
        check_clients(vectors, weights, vanish)
        if len(vectors) > self.clients:
            raise ParameterError(
                f"{len(vectors)} clients exceed the clients={self.clients} that the "
                "sum was made for; raise it.",
                argument="vectors",
            )
        frame = self._frame(np.size(next(iter(vectors.values()))))
        this = ApproximateRound(frame, session, context, seed)
        offers = {
            name: this.check(name, vectors[name], weights[name])
            for name in sorted(vectors)
        }
        key, channels = self._keys.key(seed), _channels(offers, seed)
        server = ApproximateSummer(
            frame, session=session, context=context, channels=channels
        )
        wires, clock = [], _Clock()
        for name, offer in offers.items():
            # A client that is silent only from "unmask" on has already uploaded.
            if vanish.get(name, Step.UNMASK) == Step.UNMASK:
                data = this.upload(key, channels[name], name, *offer)
                clock.charge("encryption")
                server.add(name, data)
                clock.charge(SERVER)
                wires.append(Wire(Step.MASKED_INPUT.value, name, SERVER, data))
        total = server.total()
        clock.charge(SERVER)
        receivers = sorted(server.added)
        wires += [Wire(Step.UNMASK.value, SERVER, name, total) for name in receivers]
        clock.charge("")
        result = this.open_total(key, channels[receivers[0]], total)
        clock.charge("decryption")
        transcript, seconds = Transcript(tuple(wires)), clock.seconds
        self._keys.remember(transcript, seed)
        return ApproximateAggregate(
            result=result,
            survivors=server.added,
            # Every client decrypts the same bytes alike: one of them did it for all.
            client_cpu_s=seconds["encryption"] / len(offers) + seconds["decryption"],
            server_cpu_s=seconds[SERVER],
            transcript=transcript,
        )

    def opened(self, transcript: Transcript) -> dict[str, Upload]:
        """Read every single upload with the clients' key, as a colluder can.

        This is what one client hands to the server when it gives it the key.

        Raises:
            LocalProtocolError: The transcript was not made by this object in this
                process, so its keys are not here (caller).
        """
        key = self._keys.of(transcript)
        found = {}
        for wire in transcript.messages:
            if wire.receiver == SERVER:
                message = ApproximateInput.decode(wire.data)
                seen = open_upload(key, message).shown_to_clients()
                found[wire.sender] = Upload(seen.mean, float(seen.weight))
        return found

    def _frame(self, length: int) -> ApproximateFrame:
        return ApproximateFrame(
            self.clip_norm_l2, self.weight_max, self.clients, length
        )


@dataclass(frozen=True, slots=True)
class AtClients:
    """The clients' place: an ``Aggregator`` whose mean must not leave them.

    Whoever calls ``aggregate`` has what the clients have.  Of what it returns, the
    server and outsiders may see ``transcript``, ``survivors``, bytes and times, and
    nothing of ``mean`` and ``weight`` or of what is computed from them: no model, no
    accuracy (``ckks_result`` says why).

    Attributes:
        inner: Whose rounds are played.
    """

    name: ClassVar[str] = ApproximateSum.name
    clients_only: ClassVar[bool] = True
    inner: ApproximateSum

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
        """Return the mean as the clients see it; see ``Aggregator.aggregate``.

        Raises:
            MissingTensealError: TenSEAL is not installed (caller).
        """
        out = self.inner.play(
            vectors,
            weights,
            context=context,
            session=session,
            vanish=vanish,
            seed=seed,
        )
        seen = out.result.shown_to_clients()
        mean = seen.mean.astype(np.float32)
        return Aggregate(
            mean=mean,
            weight=seen.weight,
            survivors=out.survivors,
            # Half a unit in the last place of float32.
            max_error=seen.max_error + float(np.abs(mean).max()) * 2.0**-24 + 2.0**-149,
            bytes_up=out.transcript.bytes_up(vectors),
            bytes_down=out.transcript.bytes_down(vectors),
            client_cpu_s=out.client_cpu_s,
            server_cpu_s=out.server_cpu_s,
            transcript=out.transcript,
        )


def _channels(names: Iterable[str], seed: bytes | None) -> dict[str, Channel]:
    """Return what each client shares with the server."""
    if seed is None:
        return {name: Channel.generate(name) for name in names}
    return {
        name: Channel.generate(
            name, simulation_rng(seed, "approximate sum", "channel", name)
        )
        for name in names
    }


class _Clock:
    """Charges the computing time since the last charge."""

    def __init__(self) -> None:
        self.seconds = {"": 0.0, "encryption": 0.0, "decryption": 0.0, SERVER: 0.0}
        self._last = time.process_time()

    def charge(self, what: str) -> None:
        now = time.process_time()
        self.seconds[what] += now - self._last
        self._last = now
