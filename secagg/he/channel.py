"""Tags between one client and the server: who sent an upload, and whose a sum is.

HMAC-SHA256 (RFC 2104) over the SHA-256 of a whole message, under a key that one client
and the server share.  Ciphertexts of BFV are malleable: without a tag, whoever carries
one can add to it.  A message is checked before a byte of it is read.

What it does not do.  The server holds all of these keys, so a tag says nothing against
the server, who can forge an upload or a sum (it follows the protocol, see ``summer``).
A tag does not keep a client from sending nonsense of its own, and encrypts nothing.
How the two come to share a key is theirs: given beforehand, or X25519 with the public
key of the other known from elsewhere (``keys.AgreementKey.agree``).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import NoReturn, Protocol

from secagg import usage
from secagg.ciphertext import TAG_BYTES
from secagg.errors import AuthenticationError, LocalProtocolError, ParameterError
from secagg.keys import SECRET_BYTES, Secret, derive
from secagg.prg import Rng, draw


class Tagged(Protocol):
    """A message that ends in tags, of whatever scheme."""

    @property
    def packed(self) -> bytes | memoryview:
        """Its ciphertexts."""

    @property
    def tags(self) -> bytes:
        """One of 32 bytes for each input."""

    def head(self) -> bytes:
        """Return the canonical bytes before the ciphertexts."""


class Channel:
    """What one client and the server share; it never prints, nor is it pickled.

    Args:
        client: Name of the client.
        secret: 32 bytes that nobody else has.
    """

    __slots__ = ("_key",)

    def __init__(self, client: str, secret: Secret) -> None:
        if not isinstance(secret, Secret) or len(secret) != SECRET_BYTES:
            raise ParameterError(
                f"secret must be a Secret of {SECRET_BYTES} bytes.", argument="secret"
            )
        self._key = derive(secret, usage.join(usage.TAG_CHANNEL, client.encode()))

    def __repr__(self) -> str:
        return "<Channel of a secret key>"

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError("A Channel cannot be pickled or copied.")

    @classmethod
    def generate(cls, client: str, rng: Rng = os.urandom) -> Channel:
        """Draw a fresh one, where one process is both sides."""
        return cls(client, Secret(draw(rng, SECRET_BYTES)))

    def tag(self, digest: bytes) -> bytes:
        """Return the tag of a message with this digest."""
        covered = usage.join(usage.TAG_ENCRYPTED, digest)
        return hmac.digest(self._key.expose(), covered, "sha256")

    def check_upload(self, data: bytes) -> None:
        """Refuse an upload that this client did not send; nothing in it is read.

        Raises:
            AuthenticationError: Its tag is wrong (peer).
        """
        covered = memoryview(data)[: max(0, len(data) - TAG_BYTES)]
        expected = self.tag(hashlib.sha256(covered).digest())
        if not hmac.compare_digest(expected, data[-TAG_BYTES:]):
            raise AuthenticationError(
                "an encrypted input has a wrong tag: it was altered on its way, or "
                "client and server do not share the channel's secret."
            )

    def check_total(self, message: Tagged) -> None:
        """Refuse a sum that the server did not send to this client.

        Raises:
            AuthenticationError: No tag is this client's (peer).
        """
        expected = self.tag(digest_of(message))
        tags, found = message.tags, 0
        for at in range(0, len(tags), TAG_BYTES):
            found |= hmac.compare_digest(expected, tags[at : at + TAG_BYTES])
        if not found:
            raise AuthenticationError(
                "an encrypted sum has no tag for this client: it was altered on its "
                "way, or the server did not get this client's upload."
            )


def digest_of(message: Tagged) -> bytes:
    """Return what the tags of a message cover: all bytes before them, hashed."""
    hashed = hashlib.sha256(message.head())
    hashed.update(message.packed)
    return hashed.digest()
