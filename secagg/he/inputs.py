"""The clients' side of an encrypted round: encode and encrypt, decrypt and decode.

The same words as in secure aggregation (``encode``: stochastic rounding, with weight
and checksums inside), all of them encrypted.  The server's side is ``summer``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from secagg import encode, usage
from secagg.ciphertext import TAG_BYTES, EncryptedInput, EncryptedTotal, Frame
from secagg.errors import DecodeError, ParameterError, RemoteProtocolError
from secagg.he.channel import Channel, digest_of
from secagg.he.compact import whole
from secagg.he.encryptors import CompactEncryptor, Encryptor
from secagg.he.parties import KeyHolder
from secagg.he.summer import round_id
from secagg.invite import SERVER, Step
from secagg.keys import Secret
from secagg.moduli import Scheme
from secagg.offered import check_vector, check_weight
from secagg.prg import KEY_BYTES, Rng, draw, simulation_rng
from secagg.transcript import Upload


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client brings, checked."""

    values: NDArray[np.floating] = field(repr=False)
    weight: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """Set up for one upload; its randomness is spent by it."""

    encryptor: Encryptor | CompactEncryptor
    rounding: Secret
    channel: Channel


@dataclass(frozen=True, slots=True)
class Round:
    """One round, as its clients see it."""

    frame: Frame
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

    def prepare(self, holder: KeyHolder, name: str, channel: Channel) -> Ready:
        """Return what a client has before it computes: its keys and randomness."""
        rng: Rng | None = None
        if self.seed is not None:
            names = ("encrypted sum", self.round_id.hex(), self.context.hex(), name)
            rng = simulation_rng(self.seed, *names)
        rounding = draw(rng or os.urandom, KEY_BYTES)
        if self.frame.scheme is Scheme.COMPACT:
            compact = holder.compact_encryptor(self.frame, rng)
            return Ready(compact, Secret(rounding), channel)
        return Ready(holder.encryptor(self.frame, rng), Secret(rounding), channel)

    def upload(self, ready: Ready, offer: Offer) -> bytes:
        """Return one client's message: encoded, encrypted, packed."""
        frame, where = self.frame, self.frame.where
        words = encode.encode(
            frame.encoder,
            where,
            offer.values,
            offer.weight,
            context=self.context,
            key=ready.rounding.expose(),
        )
        encode.seal(where, words, self.round_id, self.context)
        body = ready.encryptor.body(where.ring.reduce(words))
        message = EncryptedInput(
            self.round_id, self.context, frame, 1, body, bytes(TAG_BYTES)
        )
        tag = ready.channel.tag(digest_of(message))
        return replace(message, tags=tag).encode()

    def open_total(
        self, holder: KeyHolder, channel: Channel, data: bytes
    ) -> encode.Decoded:
        """Return the mean that every client decrypts from the server's message.

        Raises:
            DecodeError: The message is not this round's (peer).
            AuthenticationError: It was not sent to the client of this channel (peer).
            IntegrityError: It holds no sum of inputs.
        """
        try:
            message = EncryptedTotal.decode(data)
            channel.check_total(message)
            if (message.round_id, message.context, message.frame) != (
                self.round_id,
                self.context,
                self.frame,
            ):
                raise DecodeError("encrypted sum is of another round or context.")
            return _decrypt(holder, message, message.residues())
        except RemoteProtocolError as error:
            error.peer, error.step = SERVER, Step.UNMASK
            raise


def check_offer(
    frame: Frame, name: str, vector: NDArray[np.float32], weight: int
) -> Offer:
    """Check what a client brings; name it in an error."""
    try:
        return Offer(
            check_vector(frame.encoder, vector, length=frame.length),
            check_weight(frame.encoder, weight),
        )
    except ParameterError as error:
        raise ParameterError(
            f"update of {name!r}: {error}", argument=error.argument
        ) from error


def open_upload(holder: KeyHolder, message: EncryptedInput) -> Upload:
    """Read one client's upload with the secret key.

    Returns:
        Its vector, within 1 / scale per value, and its weight.

    Raises:
        IntegrityError: It was encrypted under another key, or altered.
    """
    decoded = _decrypt(holder, message, whole(message))
    return Upload(decoded.mean.astype(np.float64, copy=False), float(decoded.weight))


def _decrypt(
    holder: KeyHolder,
    message: EncryptedInput | EncryptedTotal,
    residues: NDArray[np.uint64],
) -> encode.Decoded:
    frame = message.frame
    words = holder.decrypt(frame, residues)
    return encode.decode_sum(
        frame.encoder,
        frame.where,
        words.astype(frame.where.ring.dtype),
        message.round_id,
        message.context,
        clients=message.count,
    )
