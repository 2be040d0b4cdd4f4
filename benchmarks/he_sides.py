"""Our sides of an encrypted round: exact, and approximate as others have it.

Each checks, once the clock has stopped, that what it decrypted is right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import secagg
from benchmarks.masked_round import threads
from benchmarks.sealed import Bill, Work, parameters, play
from secagg import encode
from secagg.approximate_frame import ApproximateFrame
from secagg.ciphertext import Frame
from secagg.he import Channel, CompactSummer, EncryptedSummer, KeyHolder
from secagg.he.ckks_keys import ApproximateKey
from secagg.he.ckks_round import ApproximateRound
from secagg.he.ckks_summer import ApproximateSummer
from secagg.he.inputs import Round, check_offer
from secagg.keys import Secret
from secagg.moduli import Scheme
from secagg.ring import RingVector

VALUE_BITS = 16
SPREAD = 0.05  # standard deviation of a value
CONTEXT, SESSION = secagg.context(b"benchmark"), b"benchmark"


def clip_of(length: int) -> float:
    """Return a norm that vectors of the benchmark stay below."""
    return 1.2 * SPREAD * length**0.5


def channels_of(work: Work) -> dict[str, Channel]:
    """Return the clients' channels: who sends one message, shares one."""
    made = [Channel.generate("made") for _ in work.vectors]
    return {f"site-{i}": made[i % len(made)] for i in range(work.clients)}


class Encrypted:
    """One round of ``EncryptedSum`` or ``CompactSum``, step by step.

    Args:
        work: to sum.
        rotate: spread the values before they are rounded.
        scheme: of encryption.
    """

    def __init__(
        self, work: Work, *, rotate: bool = False, scheme: Scheme = Scheme.PUBLIC
    ) -> None:
        self._work = work
        length = parameters(work.shapes)
        encoder = secagg.Encoder(
            value_bits=VALUE_BITS,
            weight_max=1,
            clip_norm_l2=clip_of(length),
            rotate=rotate,
        )
        self._frame = Frame(encoder, work.clients, length, scheme)
        self._round = Round(self._frame, SESSION, CONTEXT, None)
        self._holder = KeyHolder(self._frame)
        self._channels = channels_of(work)
        compact = scheme is Scheme.COMPACT
        self._server = (CompactSummer if compact else EncryptedSummer)(
            self._frame, session=SESSION, context=CONTEXT, channels=self._channels
        )
        self._rounding: list[Secret] = []

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what checks, encodes, encrypts and packs; its key is at hand."""
        name = f"site-{number}"
        made = self._round.prepare(self._holder, name, self._channels[name])
        self._rounding.append(made.rounding)
        return lambda: self._round.upload(
            made, check_offer(self._frame, name, vector, 1)
        )

    def add(self, number: int, data: bytes) -> None:
        """Add one more client's message."""
        self._server.add(f"site-{number}", data)

    def total(self) -> bytes:
        """Return the encrypted sum."""
        return self._server.total()

    def open(self, data: bytes) -> np.ndarray:
        """Decrypt and decode it."""
        channel = self._channels["site-0"]
        return self._round.open_total(self._holder, channel, data).mean

    def check(self, mean: np.ndarray) -> None:
        """Compare the mean with the very integers that the clients encrypted.

        Raises:
            RuntimeError: it is not exactly theirs, or not that of the vectors.
        """
        frame, total = self._frame, 0
        sealed = [self._words(i) for i in range(len(self._rounding))]
        for i in range(self._work.clients):
            total = total + sealed[i % len(sealed)]
        words = np.asarray(total, dtype=frame.where.ring.dtype)
        exact = encode.decode_sum(
            frame.encoder,
            frame.where,
            words,
            self._round.round_id,
            CONTEXT,
            clients=self._work.clients,
        )
        if not np.array_equal(mean, exact.mean):
            raise RuntimeError("our mean is not that of the encrypted integers.")
        gap = float(np.abs(mean - self._work.mean()).max())
        if not gap <= exact.max_error:
            raise RuntimeError(f"our mean is off by {gap}.")

    def _words(self, number: int) -> RingVector:
        where = self._frame.where
        words = encode.encode(
            self._frame.encoder,
            where,
            self._work.vectors[number],
            1,
            context=CONTEXT,
            key=self._rounding[number].expose(),
        )
        encode.seal(where, words, self._round.round_id, CONTEXT)
        return words


class Approximate:
    """One round of ``ApproximateSum``, step by step.

    Args:
        work: to sum.
    """

    def __init__(self, work: Work) -> None:
        length = parameters(work.shapes)
        frame = ApproximateFrame(clip_of(length), 1, work.clients, length)
        self._work = work
        self._round = ApproximateRound(frame, SESSION, CONTEXT, None)
        self._key = ApproximateKey()
        self._channels = channels_of(work)
        self._server = ApproximateSummer(
            frame, session=SESSION, context=CONTEXT, channels=self._channels
        )
        self._bound = 0.0

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what checks, encodes, encrypts and packs; its key is at hand."""
        name, this = f"site-{number}", self._round
        channel = self._channels[name]
        return lambda: this.upload(
            self._key, channel, name, *this.check(name, vector, 1)
        )

    def add(self, number: int, data: bytes) -> None:
        """Add one more client's message."""
        self._server.add(f"site-{number}", data)

    def total(self) -> bytes:
        """Return the encrypted sum."""
        return self._server.total()

    def open(self, data: bytes) -> np.ndarray:
        """Decrypt and decode it, at a client."""
        opened = self._round.open_total(self._key, self._channels["site-0"], data)
        result = opened.shown_to_clients()
        self._bound = result.max_error
        return result.mean

    def check(self, mean: np.ndarray) -> None:
        """Compare the mean with that of the vectors.

        Raises:
            RuntimeError: it is off by more than the stated bound.
        """
        gap = float(np.abs(mean - self._work.mean()).max())
        if not gap <= self._bound:
            raise RuntimeError(f"our approximate mean is off by {gap}.")


def played(work: Work, make: Callable[[Work], Encrypted | Approximate]) -> Bill:
    """Play a round on one thread, and check what came out.

    Raises:
        RuntimeError: it is wrong.
    """
    side = make(work)
    with threads(1):
        bill = play(work, side)
    side.check(bill.mean)
    return bill
