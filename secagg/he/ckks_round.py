"""The clients' side of an approximate round: encrypt a vector, open a sum.

The server's side is ``ckks_summer``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.approximate import ApproximateInput, ApproximateTotal
from secagg.approximate_frame import ApproximateFrame
from secagg.ciphertext import TAG_BYTES
from secagg.errors import DecodeError, ParameterError, RemoteProtocolError
from secagg.he.channel import Channel, digest_of
from secagg.he.ckks_keys import ApproximateKey
from secagg.he.ckks_result import ClientsOnly
from secagg.he.ckks_slots import ApproximateMean, fill, read
from secagg.he.ckks_summer import round_id
from secagg.invite import SERVER, Step
from secagg.offered import check_vector, check_weight
from secagg.prg import simulation_rng


@dataclass(frozen=True, slots=True)
class ApproximateRound:
    """One round, as its clients see it."""

    frame: ApproximateFrame
    session: bytes
    context: bytes
    seed: bytes | None = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.session, bytes) or not self.session:
            raise ParameterError("session must be bytes.", argument="session")
        if (
            not isinstance(self.context, bytes)
            or len(self.context) != usage.DIGEST_BYTES
        ):
            raise ParameterError(
                "context must be the 32 bytes of secagg.context().", argument="context"
            )

    @property
    def round_id(self) -> bytes:
        """Name of the round on the wire."""
        return round_id(self.frame, self.session)

    def check(
        self, name: str, vector: NDArray[np.floating], weight: int
    ) -> tuple[NDArray[np.floating], int]:
        """Check what a client brings; name it in an error.

        Raises:
            ParameterError: It is outside the frame (caller).
        """
        limits = self.frame.limits
        try:
            return (
                check_vector(limits, vector, length=self.frame.length),
                check_weight(limits, weight),
            )
        except ParameterError as error:
            raise ParameterError(
                f"update of {name!r}: {error}", argument=error.argument
            ) from error

    def upload(
        self,
        key: ApproximateKey,
        channel: Channel,
        name: str,
        vector: NDArray[np.floating],
        weight: int,
    ) -> bytes:
        """Return one client's message: weighted, checked off, encrypted, packed."""
        rng = None
        if self.seed is not None:
            names = ("approximate sum", self.round_id.hex(), self.context.hex(), name)
            rng = simulation_rng(self.seed, *names)
        slots = fill(self.frame, vector, weight, self._binding)
        packed = self.frame.pack(key.encrypt(slots, rng))
        message = ApproximateInput(
            self.round_id, self.context, self.frame, 1, packed, bytes(TAG_BYTES)
        )
        return replace(message, tags=channel.tag(digest_of(message))).encode()

    def open_total(
        self, key: ApproximateKey, channel: Channel, data: bytes
    ) -> ClientsOnly[ApproximateMean]:
        """Return the mean that every client decrypts from the server's message.

        Raises:
            DecodeError: The message is not this round's (peer).
            AuthenticationError: It was not sent to the client of this channel (peer).
            IntegrityError: It holds no sum of inputs.
        """
        try:
            message = ApproximateTotal.decode(data)
            channel.check_total(message)
            if (message.round_id, message.context, message.frame) != (
                self.round_id,
                self.context,
                self.frame,
            ):
                raise DecodeError("encrypted sum is of another round or context.")
            return _open(key, message)
        except RemoteProtocolError as error:
            error.peer, error.step = SERVER, Step.UNMASK
            raise

    @property
    def _binding(self) -> bytes:
        return self.round_id + self.context


def open_upload(
    key: ApproximateKey, message: ApproximateInput
) -> ClientsOnly[ApproximateMean]:
    """Read one client's upload with the key, as any of the clients can.

    Raises:
        IntegrityError: It was encrypted under another key or context, or altered.
    """
    return _open(key, message)


def _open(
    key: ApproximateKey, message: ApproximateInput | ApproximateTotal
) -> ClientsOnly[ApproximateMean]:
    frame, binding = message.frame, message.round_id + message.context
    slots = key.decrypt(frame, message.residues()).shown_to_clients()
    return ClientsOnly(read(frame, slots, message.count, binding))
