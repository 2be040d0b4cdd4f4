"""The server of an approximate sum: parameters and ciphertexts, no key and no TenSEAL.

Like BFV's (``summer``), ciphertexts of CKKS are added coefficient by coefficient modulo
the primes, so a server needs integers only.  It follows the protocol (semi-honest), and
is never told what the clients decrypt (``ckks_result`` says why).  Whoever stands
between it and a client is found by the tags (``channel``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.approximate import ApproximateInput, ApproximateTotal
from secagg.approximate_frame import PRIMES, ApproximateFrame
from secagg.ciphertext import TAG_BYTES
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    RemoteProtocolError,
)
from secagg.he.channel import Channel, digest_of
from secagg.invite import Step

_PRIMES: NDArray[np.uint64] = np.array(PRIMES, dtype=np.uint64)[:, None, None, None]


def round_id(frame: ApproximateFrame, session: bytes) -> bytes:
    """Name a round by its frame, which pins the parameters, and its session."""
    return usage.digest(usage.TAG_ROUND, b"approximate", session, frame.encode())


class ApproximateSummer:
    """Adds the uploads of one round.

    Args:
        frame: What is agreed.
        session: Names the round.
        context: 32 bytes from ``secagg.context``, equal for all clients of the sum.
        channels: What it shares with each client that may take part, by name.
    """

    __slots__ = ("_added", "_channels", "_context", "_frame", "_round_id", "_total")

    def __init__(
        self,
        frame: ApproximateFrame,
        *,
        session: bytes,
        context: bytes,
        channels: Mapping[str, Channel],
    ) -> None:
        self._channels = dict(channels)
        self._frame = frame
        self._round_id = round_id(frame, session)
        self._context = context
        self._added: set[str] = set()
        self._total = np.zeros(frame.shape, dtype=np.uint64)

    def __repr__(self) -> str:
        return f"<ApproximateSummer of {len(self._added)} encrypted inputs>"

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
            residues = self._read(peer, data)
        except RemoteProtocolError as error:
            error.peer, error.step = peer, Step.MASKED_INPUT
            raise
        self._total += residues
        # Below twice the prime, so one subtraction reduces; where none is due, it wraps
        # to a larger word.
        np.minimum(self._total, self._total - _PRIMES, out=self._total)
        self._added.add(peer)

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
        count, packed = len(self._added), self._frame.pack(self._total)
        message = ApproximateTotal(
            self._round_id,
            self._context,
            self._frame,
            count,
            packed,
            bytes(count * TAG_BYTES),
        )
        digest = digest_of(message)
        tags = [self._channels[peer].tag(digest) for peer in sorted(self._added)]
        return replace(message, tags=b"".join(tags)).encode()

    def _read(self, peer: str, data: bytes) -> NDArray[np.uint64]:
        """Return the coefficients of an upload that belongs into this sum."""
        if peer not in self._channels:
            raise AuthenticationError("an encrypted input came from a stranger.")
        self._channels[peer].check_upload(data)
        message = ApproximateInput.decode(data)
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
        return message.residues()
