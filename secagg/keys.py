"""Keys: X25519 agreement, HKDF-SHA256, AES-256-GCM boxes, Ed25519 identities.

Follows RFC 7748 (X25519, with the all-zero check of section 6.1), RFC 5869 (HKDF),
NIST SP 800-38D (GCM) and RFC 8032 (Ed25519), all computed by OpenSSL through
``cryptography``.  Secrets live in ``Secret``, which never prints.

What it does not do: CPython may leave copies of a secret in freed memory; ``wipe``
overwrites the one copy that this object holds, and promises no more than that.
"""

from __future__ import annotations

import hmac
import os
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import (
    AuthenticationError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
)
from secagg.prg import Rng, draw

SECRET_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TAG_BYTES: Final = 16
FIELD_PRIME: Final = (1 << 255) - 19  # of curve25519
# The x of all points of the curve or its twist that 8 times make the neutral element:
# what X25519 maps to zero, whatever the scalar (RFC 7748 sections 5 and 6.1).
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        FIELD_PRIME - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)
_NONCE: Final = bytes(12)  # every box key seals one message only, see `seal`


class Secret:
    """Bytes that never print, compare in constant time and cannot be pickled."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes) or not value:
            raise ParameterError(
                "a Secret is made of bytes, at least one.", argument="value"
            )
        self._value = bytearray(value)

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return f"<{len(self._value)} secret bytes>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError("A Secret cannot be pickled or copied.")

    def expose(self) -> bytes:
        """Return the bytes, for a cipher or a share and nothing else.

        Raises:
            LocalProtocolError: The secret was wiped (caller).
        """
        if not self._value:
            raise LocalProtocolError("A Secret cannot be used after it was wiped.")
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite and drop the bytes; the secret is empty afterwards."""
        self._value[:] = bytes(len(self._value))
        self._value.clear()


class AgreementKey:
    """An X25519 key pair for one round."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: Secret) -> None:
        if len(secret) != SECRET_BYTES:
            raise ParameterError(
                f"an X25519 key has {SECRET_BYTES} bytes, got {len(secret)}.",
                argument="secret",
            )
        private = X25519PrivateKey.from_private_bytes(secret.expose())
        self._private: X25519PrivateKey | None = private
        self.public: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, rng: Rng = os.urandom) -> AgreementKey:
        """Draw a fresh key pair from 32 bytes of ``rng``."""
        return cls(Secret(draw(rng, SECRET_BYTES)))

    def secret(self) -> Secret:
        """Return the private key, to be shared among the peers."""
        return Secret(self._held().private_bytes_raw())

    def wipe(self) -> None:
        """Drop the private key; OpenSSL overwrites it when the last user is gone."""
        self._private = None

    def agree(self, public: bytes) -> Secret:
        """Return the shared point of this key and a peer's public key.

        Raises:
            AuthenticationError: The peer's key is malformed or of low order, which
                makes the result all zero (peer).

        Source:
            RFC 7748 section 6.1.
        """
        try:
            return Secret(
                self._held().exchange(X25519PublicKey.from_public_bytes(public))
            )
        except ValueError as error:
            raise AuthenticationError(
                "A public key is malformed or of low order."
            ) from error

    def _held(self) -> X25519PrivateKey:
        if self._private is None:
            raise LocalProtocolError("A private key cannot be used after it was wiped.")
        return self._private


class IdentityKey:
    """A long-lived Ed25519 signing key; ``public`` belongs in every roster."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: Secret) -> None:
        if len(secret) != SECRET_BYTES:
            raise ParameterError(
                f"an Ed25519 seed has {SECRET_BYTES} bytes, got {len(secret)}.",
                argument="secret",
            )
        self._private = Ed25519PrivateKey.from_private_bytes(secret.expose())
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, rng: Rng = os.urandom) -> IdentityKey:
        """Draw a fresh identity from 32 bytes of ``rng``."""
        return cls(Secret(draw(rng, SECRET_BYTES)))

    def secret(self) -> Secret:
        """Return the seed, to be stored by its owner."""
        return Secret(self._private.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over ``message`` (RFC 8032, pure Ed25519)."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"IdentityKey(public={self.public.hex()})"


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature.

    Raises:
        AuthenticationError: It is not a signature of ``public`` over ``message``
            (peer).
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise AuthenticationError("A signature does not verify.") from error


def check_public(public: bytes) -> None:
    """Refuse an X25519 public key that makes every agreement fail.

    Raises:
        AuthenticationError: The key is malformed or of low order (peer).
    """
    if len(public) == PUBLIC_BYTES:
        number = int.from_bytes(public, "little") & ((1 << 255) - 1)
        if number % FIELD_PRIME not in _LOW_ORDER:
            return
    raise AuthenticationError("A public key is malformed or of low order.")


def check_canonical(public: bytes) -> None:
    """Refuse all but one encoding of an X25519 public key.

    X25519 itself ignores bit 255 and reduces modulo p (RFC 7748 section 5), so that a
    copied key could pass for another one where keys are compared as bytes.

    Raises:
        DecodeError: The key has the wrong size or is not reduced (peer).
    """
    if len(public) != PUBLIC_BYTES:
        raise DecodeError(
            f"public key has {len(public)} bytes, expected {PUBLIC_BYTES}."
        )
    if int.from_bytes(public, "little") >= FIELD_PRIME:
        raise DecodeError("public key is not in canonical encoding.")


def derive(secret: Secret, info: bytes, *, length: int = SECRET_BYTES) -> Secret:
    """Derive a key with HKDF-SHA256, empty salt (RFC 5869 sections 2.2 and 2.3)."""
    kdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=info)
    return Secret(kdf.derive(secret.expose()))


def seal(key: Secret, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate with AES-256-GCM.

    The nonce is constant because a key is derived for one sender, one receiver and
    one round, and therefore seals exactly one message.

    Returns:
        Ciphertext followed by the 16-byte tag.
    """
    return AESGCM(key.expose()).encrypt(_NONCE, plaintext, associated)


def unseal(key: Secret, ciphertext: bytes, associated: bytes) -> bytes:
    """Decrypt what ``seal`` made.

    Raises:
        AuthenticationError: Ciphertext, key or associated data differ (peer).
    """
    try:
        return AESGCM(key.expose()).decrypt(_NONCE, ciphertext, associated)
    except InvalidTag as error:
        raise AuthenticationError("A sealed message does not open.") from error
