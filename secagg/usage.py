"""Protocol version, cipher suites, and every domain-separation tag, in one place.

A tag names the one purpose for which a hash or a derived key may be used, so that
no byte string can serve two purposes (RFC 5869 section 3.2 on ``info``).  Nothing
else in the package writes a tag.  This module derives no keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from secagg.errors import ParameterError

VERSION: Final = 2
"""First byte of every message; raised by any change of the wire format."""

AES_256_CTR: Final = "aes-256-ctr"
CHACHA20: Final = "chacha20"
CIPHERS: Final = (AES_256_CTR, CHACHA20)
"""What masks are drawn with; ``streams`` has the layout of their bytes."""


class Suite(NamedTuple):
    """What a plan's second byte says: the kind of its graph, and the cipher of masks.

    X25519, HKDF-SHA256, AES-256-GCM, SHA-256 and Shamir mod 2^16 + 1 are the same in
    all suites.
    """

    sparse: bool
    cipher: str


SUITES: Final[Mapping[int, Suite]] = MappingProxyType(
    {
        1: Suite(sparse=False, cipher=AES_256_CTR),
        2: Suite(sparse=True, cipher=AES_256_CTR),
        3: Suite(sparse=False, cipher=CHACHA20),
        4: Suite(sparse=True, cipher=CHACHA20),
    }
)
SUITE_BYTES: Final[Mapping[Suite, int]] = MappingProxyType(
    {suite: number for number, suite in SUITES.items()}
)

DIGEST_BYTES: Final = 32

_PREFIX: Final = b"blindsum/secagg/%d/" % VERSION

TAG_CONTEXT: Final = _PREFIX + b"context"
TAG_PLAN: Final = _PREFIX + b"plan"
TAG_ROUND: Final = _PREFIX + b"round"
TAG_KEY_LIST: Final = _PREFIX + b"key-list"
TAG_GRAPH_ORDER: Final = _PREFIX + b"graph-order"
TAG_SCHEMA: Final = _PREFIX + b"schema"
TAG_ADVERTISE_SIGNATURE: Final = _PREFIX + b"advertise-signature"
TAG_SHARE_BOX_KEY: Final = _PREFIX + b"share-box-key"
TAG_SHARE_BOX_DATA: Final = _PREFIX + b"share-box-data"
TAG_SHARE_COMMITMENT: Final = _PREFIX + b"share-commitment"
TAG_SEED_COMMITMENT: Final = _PREFIX + b"seed-commitment"
TAG_PAIR_MASK: Final = _PREFIX + b"pair-mask"
TAG_SELF_MASK: Final = _PREFIX + b"self-mask"
TAG_INTEGRITY: Final = _PREFIX + b"integrity-coefficients"
TAG_ROTATION: Final = _PREFIX + b"rotation"
TAG_ROTATION_SIGNS: Final = _PREFIX + b"rotation-signs"
TAG_FINGERPRINT: Final = _PREFIX + b"offer-fingerprint"
TAG_CHANNEL: Final = _PREFIX + b"channel"
TAG_ENCRYPTED: Final = _PREFIX + b"encrypted-message"
TAG_CKKS: Final = _PREFIX + b"ckks-parameters"
TAG_SIMULATION: Final = _PREFIX + b"simulation"

_LENGTHS: Final = tuple(size.to_bytes(8, "little") for size in range(256))


def check_cipher(cipher: str) -> str:
    """Return the name of a cipher of masks.

    Raises:
        ParameterError: It is none (caller).
    """
    if cipher not in CIPHERS:
        raise ParameterError(
            f"cipher={cipher!r} is unknown; use one of "
            f"{', '.join(map(repr, CIPHERS))}.",
            argument="cipher",
        )
    return cipher


def join(tag: bytes, *parts: bytes) -> bytes:
    """Concatenate a tag and parts, each behind its length: an injective encoding."""
    framed = []
    for part in (tag, *parts):
        size = len(part)
        short = size < len(_LENGTHS)  # nearly always: a table is twice as fast
        framed.append(_LENGTHS[size] if short else size.to_bytes(8, "little"))
        framed.append(part)
    return b"".join(framed)


def digest(tag: bytes, *parts: bytes) -> bytes:
    """Return SHA-256 over the injective encoding of a tag and parts."""
    return hashlib.sha256(join(tag, *parts)).digest()


def context(*parts: bytes) -> bytes:
    """Hash everything received that shaped the update offered to a round.

    Two calls agree exactly when they got the same parts in the same order.  Masks
    are keyed by the context, so clients with different contexts yield noise, never
    a sum.  The context reaches the server in clear: put in what the server may know.

    Args:
        *parts: At least one byte string: for example the digest of the global model,
            of the training configuration and of the tensor schema.

    Returns:
        32 bytes for ``Client.offer`` and ``run_round``.

    Raises:
        ParameterError: No part was given, or a part is not bytes (caller).

    Source:
        Pasquini, Francati, Ateniese, "Eluding Secure Aggregation in Federated
        Learning via Model Inconsistency", CCS 2022: the attack that this prevents.
    """
    if not parts:
        raise ParameterError(
            "context() got no parts; pass what shaped the update, for example the "
            "digest of the global model.",
            argument="parts",
        )
    for part in parts:
        if not isinstance(part, bytes):
            raise ParameterError(
                f"context() takes bytes, got {type(part).__name__}; encode the part "
                "first.",
                argument="parts",
            )
    return digest(TAG_CONTEXT, *parts)
