"""The messages of a round and their one canonical encoding.

Bonawitz et al., CCS 2017, figure 4, without the consistency round.  Every message is::

    version (1) | tag (1) | round id (32) | body

with little-endian integers, fixed-size fields, and lists sorted by roster index behind
a two-byte count.  ``decode`` checks the size of the raw bytes against a cap before it
reads them, refuses trailing bytes, and refuses any encoding but the one that ``encode``
gives.  A message checks its own invariants when it is built, on either side.

========= ========================================== ==========================
step      messages                                   module
========= ========================================== ==========================
0         Invite; Advertise                          ``invite``; ``keylist``
1         KeyList or NeighbourKeys; SealedShares     ``keylist``; ``dealing``
2         ShareDelivery; MaskedInput                 ``dealing``; ``upload``
3         UnmaskRequest; UnmaskShares                ``reveal``
any       Abort                                      here
========= ========================================== ==========================

This module keeps no state and never decodes anything but these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from secagg.approximate import ApproximateInput, ApproximateTotal
from secagg.ciphertext import EncryptedInput, EncryptedTotal
from secagg.dealing import SealedShares, ShareDelivery
from secagg.errors import DecodeError
from secagg.invite import Invite, Limits, Step
from secagg.keylist import Advertise, KeyList, NeighbourKeys
from secagg.reveal import UnmaskRequest, UnmaskShares
from secagg.upload import MaskedInput, PlainInput
from secagg.wire import HEADER_BYTES, Reader, header, split_header


@dataclass(frozen=True, slots=True)
class Abort:
    """Either side: the round is over for the sender; it says nothing more."""

    TAG: ClassVar[int] = 9
    STEP: ClassVar[Step | None] = None
    round_id: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id)

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> Abort:
        """Read the empty body."""
        return cls(round_id)

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 0


ProtocolMessage = (
    Invite
    | Advertise
    | KeyList
    | NeighbourKeys
    | SealedShares
    | ShareDelivery
    | MaskedInput
    | UnmaskRequest
    | UnmaskShares
    | Abort
)
MESSAGES: Final = (
    Invite,
    Advertise,
    KeyList,
    NeighbourKeys,
    SealedShares,
    ShareDelivery,
    MaskedInput,
    UnmaskRequest,
    UnmaskShares,
    Abort,
)
_BY_TAG: Final = {message.TAG: message for message in MESSAGES}
_OTHERS: Final = (  # of other aggregators
    PlainInput,
    EncryptedInput,
    EncryptedTotal,
    ApproximateInput,
    ApproximateTotal,
)
_STEPS: Final = {kind.TAG: kind.STEP for kind in (*MESSAGES, *_OTHERS)}


def decode(data: bytes, limits: Limits) -> ProtocolMessage:
    """Read one message.

    Guarantee: for the returned message, ``message.encode() == data``.

    Args:
        data: Raw bytes, as received.
        limits: Caps, checked before anything is allocated.

    Raises:
        DecodeError: The bytes are not the canonical encoding of a message (peer).
    """
    tag, round_id = split_header(data)
    kind = _BY_TAG.get(tag)
    if kind is None:
        raise DecodeError(f"message has unknown tag {tag}.")
    cap = HEADER_BYTES + kind.cap(limits)
    if len(data) > cap:
        raise DecodeError(
            f"{kind.__name__} has {len(data)} bytes, more than the cap of {cap}."
        )
    reader = Reader(data, HEADER_BYTES)
    message = kind.read(round_id, reader, limits)
    reader.end()
    # A vector has one encoding by its size, and is too large to be copied to compare.
    if isinstance(message, MaskedInput):
        canonical = data.startswith(message.head())
    else:
        canonical = message.encode() == data
    if not canonical:
        raise DecodeError(f"{kind.__name__} is not in canonical encoding.")
    return message


def step_of(data: bytes) -> Step | None:
    """Return the step that a message belongs to; None for an abort.

    Raises:
        DecodeError: The header is not that of a message (peer).
    """
    tag, _ = split_header(data)
    if tag not in _STEPS:
        raise DecodeError(f"message has unknown tag {tag}.")
    return _STEPS[tag]
