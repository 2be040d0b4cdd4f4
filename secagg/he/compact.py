"""Compact uploads at the server: seeds in place of half of every ciphertext.

The c1 of an upload is the same whoever draws it from its seed.  So a server adds up the
c0, keeps 64 bytes of each ciphertext, and at the end lets SEAL draw and add the c1:
what SEAL parses is written here, and a peer has chosen nothing in it but the seeds.

The server needs TenSEAL for this, on a platform where ``seal.require_compact`` holds,
and still no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import EncryptedInput, Frame
from secagg.he import seal
from secagg.he.channel import Channel
from secagg.he.summer import EncryptedSummer
from secagg.moduli import Scheme


class CompactSummer(EncryptedSummer):
    """Adds compact uploads of one round; takes and tells what ``EncryptedSummer`` does.

    Raises:
        UnsupportedPlatformError: SEAL's seeds cannot be read here (caller).
        MissingTensealError: TenSEAL is not installed (caller).
    """

    SCHEME: ClassVar[Scheme] = Scheme.COMPACT

    __slots__ = ("_seeds",)

    def __init__(
        self,
        frame: Frame,
        *,
        session: bytes,
        context: bytes,
        channels: Mapping[str, Channel],
    ) -> None:
        super().__init__(frame, session=session, context=context, channels=channels)
        seal.require_compact()
        self._seeds: list[list[bytes]] = []

    def _include(self, message: EncryptedInput) -> None:
        self._seeds.append(message.seeds())

    def _coefficients(self) -> NDArray[np.uint64]:
        return np.concatenate([self._total, drawn(self._frame, self._seeds)], axis=1)


def drawn(frame: Frame, seeds: Sequence[Sequence[bytes]]) -> NDArray[np.uint64]:
    """Return the sum of all c1 of some uploads.

    Args:
        frame: Theirs.
        seeds: Of each upload, one for each ciphertext.

    Returns:
        shape (primes, N times ciphertexts).
    """
    moduli = frame.moduli
    where = seal.context(moduli, frame.where.ring.bits)
    with seal.compact_file() as file:
        sums = [
            seal.masks_of(where, moduli, of_one, file)
            for of_one in zip(*seeds, strict=True)
        ]
    return np.concatenate(sums, axis=1)


def whole(message: EncryptedInput) -> NDArray[np.uint64]:
    """Return all coefficients of an upload of either kind, shape ``frame.shape``."""
    if message.frame.scheme is Scheme.PUBLIC:
        return message.residues()
    masks = drawn(message.frame, [message.seeds()])
    return np.concatenate([message.residues(), masks], axis=1)
