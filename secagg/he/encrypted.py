"""``EncryptedSum``: aggregation under BFV, exact, in one message each way.

Vectors are encoded as for secure aggregation (``encode``: weights and checksums travel
inside), all words of an update are encrypted every round, the server adds ciphertexts,
and every client decrypts the sum with the key that all of them share.

The server, who follows the protocol and has no client's help, learns from the messages
neither vectors nor weights nor the sum, but who took part.  With one client's key it
reads everybody, which ``opened`` does, and which pairwise masks exclude.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from secagg.aggregator import NOBODY, Aggregate, check_clients
from secagg.ciphertext import EncryptedInput, Frame
from secagg.encoder import Encoder
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he.channel import Channel
from secagg.he.compact import CompactSummer
from secagg.he.inputs import Round, check_offer, open_upload
from secagg.he.parties import KeyHolder
from secagg.he.summer import EncryptedSummer
from secagg.invite import SERVER, Step
from secagg.moduli import Scheme
from secagg.prg import simulation_rng
from secagg.transcript import Transcript, Upload, Wire

_UNKNOWN: Final = (
    "the keys of this transcript are not here; call opened() on the very object that "
    "ran the round, in the same process."
)


class _Keys:
    """The keys that one aggregator made; they stay in its process."""

    def __init__(self) -> None:
        self._own: KeyHolder | None = None
        self._latest: tuple[bytes, KeyHolder] | None = None
        self._seeds: dict[int, bytes | None] = {}  # by hash of the transcript

    def holder(self, frame: Frame, seed: bytes | None) -> KeyHolder:
        """Return the key of this seed, or the one from real randomness."""
        if seed is None:
            self._own = self._own or KeyHolder(frame)
            return self._own
        if self._latest is None or self._latest[0] != seed:
            rng = simulation_rng(seed, "encrypted sum", "keys")
            self._latest = (seed, KeyHolder(frame, rng))
        return self._latest[1]

    def remember(self, transcript: Transcript, seed: bytes | None) -> None:
        self._seeds[hash(transcript)] = seed

    def of(self, transcript: Transcript, frame: Frame) -> KeyHolder:
        """Return the key under which a transcript was made."""
        if hash(transcript) not in self._seeds:
            raise LocalProtocolError(_UNKNOWN)
        return self.holder(frame, self._seeds[hash(transcript)])


@dataclass(frozen=True)
class EncryptedSum:
    """Homomorphic encryption under one key that all clients share.

    The keys are made on first use and kept: by the operating system's randomness, or
    from the seed of a simulated round.  Pickled or copied, it goes without its keys,
    and makes others.

    Attributes:
        encoder: How vectors become integers.
        clients: The most clients of one sum; bounds the ring.

    Raises:
        ParameterError: Such a sum could overflow, or not be decrypted (caller).
    """

    name: ClassVar[str] = "he-bfv (shared key)"
    scheme: ClassVar[Scheme] = Scheme.PUBLIC
    summer: ClassVar[type[EncryptedSummer]] = EncryptedSummer
    encoder: Encoder
    clients: int
    _keys: _Keys = field(default_factory=_Keys, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, Encoder):
            raise ParameterError("encoder must be an Encoder.", argument="encoder")
        Frame(self.encoder, self.clients, 1, self.scheme)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.encoder, self.clients)

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
        """Return the mean as the clients decrypt it; see ``Aggregator.aggregate``.

        ``client_cpu_s`` is one client's encoding, encryption and decryption of the sum.
        Making keys and SEAL's tables is set-up and in neither cost.

        Raises:
            MissingTensealError: TenSEAL is not installed (caller).
            UnsupportedPlatformError: Compact sums cannot be had here (caller).
        """
        check_clients(vectors, weights, vanish)
        this = Round(self._frame(vectors), session, context, seed)
        offers = {
            name: check_offer(this.frame, name, vectors[name], weights[name])
            for name in sorted(vectors)
        }
        holder = self._keys.holder(this.frame, seed)
        channels = _channels(offers, seed)
        server = self.summer(
            this.frame, session=session, context=context, channels=channels
        )
        clock = _Clock()
        wires = []
        for name, offer in offers.items():
            # A client that is silent only from "unmask" on has already uploaded.
            if vanish.get(name, Step.UNMASK) == Step.UNMASK:
                ready = this.prepare(holder, name, channels[name])
                clock.restart()
                data = this.upload(ready, offer)
                clock.charge("encryption", less=ready.encryptor.setup_s)
                server.add(name, data)
                clock.charge(SERVER)
                wires.append(Wire(Step.MASKED_INPUT.value, name, SERVER, data))
        total = server.total()
        clock.charge(SERVER)
        receivers = sorted(server.added)
        wires += [Wire(Step.UNMASK.value, SERVER, name, total) for name in receivers]
        decoded = this.open_total(holder, channels[receivers[0]], total)
        clock.charge("decryption")
        transcript = Transcript(tuple(wires))
        self._keys.remember(transcript, seed)
        seconds = clock.seconds
        return Aggregate(
            mean=decoded.mean.astype(np.float32),
            weight=decoded.weight,
            survivors=server.added,
            max_error=decoded.max_error,
            bytes_up=transcript.bytes_up(offers),
            bytes_down=transcript.bytes_down(offers),
            # Every client decrypts the same bytes alike: one of them did it for all.
            client_cpu_s=seconds["encryption"] / len(offers) + seconds["decryption"],
            server_cpu_s=seconds[SERVER],
            transcript=transcript,
        )

    def opened(self, transcript: Transcript) -> dict[str, Upload]:
        """Read every single upload with the clients' key, as a colluder can.

        This is what one client hands to the server when it gives it the key.

        Returns:
            Each client's vector, within the encoder's error per value, and weight.

        Raises:
            LocalProtocolError: The transcript was not made by this object in this
                process, so its keys are not here (caller).
        """
        frame = Frame(self.encoder, self.clients, 1, self.scheme)
        holder = self._keys.of(transcript, frame)
        return {
            wire.sender: open_upload(holder, EncryptedInput.decode(wire.data))
            for wire in transcript.messages
            if wire.receiver == SERVER
        }

    def _frame(self, vectors: Mapping[str, NDArray[np.float32]]) -> Frame:
        if len(vectors) > self.clients:
            raise ParameterError(
                f"{len(vectors)} clients exceed the clients={self.clients} that the "
                "sum was made for; raise it.",
                argument="vectors",
            )
        length = np.size(next(iter(vectors.values())))
        return Frame(self.encoder, self.clients, length, self.scheme)


class CompactSum(EncryptedSum):
    """The same under the secret key: an upload takes a third of the bytes.

    A client sends half of each ciphertext, and the seed that the other half is drawn
    from, which only encryption under the secret key allows: whoever uploads holds it,
    where in ``EncryptedSum`` only whoever decrypts does.  There is less noise, too, and
    so a smaller modulus does.  Clients and server need what ``require_compact`` checks.

    Raises:
        ParameterError: Such a sum could overflow, or not be decrypted (caller).
    """

    name: ClassVar[str] = "he-compact (shared key)"
    scheme: ClassVar[Scheme] = Scheme.COMPACT
    summer: ClassVar[type[EncryptedSummer]] = CompactSummer


def _channels(names: Iterable[str], seed: bytes | None) -> dict[str, Channel]:
    """Return what each client shares with the server."""
    if seed is None:
        return {name: Channel.generate(name) for name in names}
    return {
        name: Channel.generate(
            name, simulation_rng(seed, "encrypted sum", "channel", name)
        )
        for name in names
    }


class _Clock:
    """Charges the computing time since the last charge or restart."""

    def __init__(self) -> None:
        self.seconds = {"encryption": 0.0, "decryption": 0.0, SERVER: 0.0}
        self.restart()

    def restart(self) -> None:
        self._last = time.process_time()

    def charge(self, what: str, *, less: float = 0.0) -> None:
        now = time.process_time()
        self.seconds[what] += now - self._last - less
        self._last = now
