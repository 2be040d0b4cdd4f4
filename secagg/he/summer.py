"""The server of an encrypted sum: parameters and ciphertexts, no key and no TenSEAL.

Ciphertexts of BFV are added coefficient by coefficient modulo the primes of q.  So a
server needs integers only: it cannot be given a key, and what a client sends meets no
parser but the one in ``ciphertext``.

It follows the protocol (semi-honest).  One that does not could pass off a single upload
as the sum; nothing here would tell the clients.  Whoever stands between the two cannot:
what is sent has a tag (``channel``), which is checked before anything else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.ciphertext import TAG_BYTES, EncryptedInput, EncryptedTotal, Frame
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.he.channel import Channel, digest_of
from secagg.invite import Step
from secagg.moduli import Scheme


def round_id(frame: Frame, session: bytes) -> bytes:
    """Name a round by its frame and session."""
    return usage.digest(usage.TAG_ROUND, b"encrypted", session, frame.encode())


class EncryptedSummer:
    """Adds encrypted uploads of one round.

    Args:
        frame: What is agreed.
        session: Names the round; a fresh one for each. A replay under the same session
            and context is not told from the upload it repeats.
        context: 32 bytes from ``secagg.context``, equal for all clients of the sum.
        channels: What it shares with each client that may take part, by name.
    """

    SCHEME: ClassVar[Scheme] = Scheme.PUBLIC

    __slots__ = (
        "_added",
        "_channels",
        "_context",
        "_frame",
        "_primes",
        "_room",
        "_round_id",
        "_total",
        "_unreduced",
    )

    def __init__(
        self,
        frame: Frame,
        *,
        session: bytes,
        context: bytes,
        channels: Mapping[str, Channel],
    ) -> None:
        if frame.scheme is not self.SCHEME:
            raise ParameterError(
                "an EncryptedSummer adds whole ciphertexts, a CompactSummer those of a "
                "compact frame; use the other one.",
                argument="frame",
            )
        self._channels = dict(channels)
        self._frame = frame
        self._round_id = round_id(frame, session)
        self._context = context
        self._added: set[str] = set()
        primes = np.array(frame.moduli.primes, dtype=np.uint64)
        self._primes: NDArray[np.uint64] = primes[:, None]
        # Uploads, or reduced sums, that 64 bits hold.
        self._room, self._unreduced = ((1 << 64) - 1) // max(frame.moduli.primes), 0
        self._total = np.zeros(frame.input_shape, dtype=np.uint64)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._added)} encrypted inputs>"

    @property
    def added(self) -> frozenset[str]:
        """Clients whose upload is in the sum."""
        return frozenset(self._added)

    def add(self, peer: str, data: bytes) -> None:
        """Add one upload; a refused one leaves the sum as it was.

        Raises:
            RemoteProtocolError: The message is none of this round, or a second one, or
                one too many; ``peer`` and ``step`` say whose (peer).
            AuthenticationError: The same, as its tag is wrong (peer).
        """
        try:
            message = self._read(peer, data)
            residues = message.residues()
        except RemoteProtocolError as error:
            error.peer, error.step = peer, Step.MASKED_INPUT
            raise
        if self._unreduced == self._room:
            self._reduce()
        self._total += residues
        self._unreduced += 1
        self._added.add(peer)
        self._include(message)

    def total(self) -> bytes:
        """Return the message that holds the encrypted sum, for all clients.

        Raises:
            AbortError: Nothing was added.
        """
        if not self._added:
            raise AbortError(
                "every client vanished before its upload.",
                step=Step.MASKED_INPUT,
                need=1,
                have=0,
            )
        self._reduce()
        count = len(self._added)
        message = EncryptedTotal(
            self._round_id,
            self._context,
            self._frame,
            count,
            self._frame.pack(self._coefficients()),
            bytes(count * TAG_BYTES),
        )
        digest = digest_of(message)
        tags = [self._channels[peer].tag(digest) for peer in sorted(self._added)]
        return replace(message, tags=b"".join(tags)).encode()

    def _reduce(self) -> None:
        np.remainder(self._total, self._primes, out=self._total)
        self._unreduced = 1

    def _include(self, message: EncryptedInput) -> None:
        """Take what else an upload holds; this cannot fail."""

    def _coefficients(self) -> NDArray[np.uint64]:
        """Return the coefficients of the sum, shape ``frame.shape``."""
        return self._total

    def _read(self, peer: str, data: bytes) -> EncryptedInput:
        """Return an upload that belongs into this sum."""
        if peer not in self._channels:
            raise AuthenticationError("an encrypted input came from a stranger.")
        self._channels[peer].check_upload(data)
        message = EncryptedInput.decode(data)
        if (message.round_id, message.frame) != (self._round_id, self._frame):
            raise DecodeError("encrypted input is of another round or another frame.")
        if message.context != self._context:
            raise DecodeError(
                "encrypted input was made under another context than the round's."
            )
        if peer in self._added:
            raise RemoteProtocolError("a client sent a second encrypted input.")
        if len(self._added) == self._frame.clients:
            raise RemoteProtocolError(
                f"an encrypted input exceeds the agreed {self._frame.clients} clients."
            )
        return message
