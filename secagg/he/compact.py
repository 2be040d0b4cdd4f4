"""Compact uploads at the server: seeds in place of half of every ciphertext.

The c1 of an upload is the same whoever draws it from its seed.  So a server adds up the
c0, keeps 64 bytes of each ciphertext, and at the end lets SEAL draw and add the c1:
what SEAL parses is written here, and a peer has chosen nothing in it but the seeds.

The server needs TenSEAL for this, on a platform where ``seal.require_compact`` holds,
and still no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import SEED_BYTES, EncryptedInput, Frame
from secagg.he import seal
from secagg.he.channel import Channel
from secagg.he.saved import MemoryFile, ciphertext_bytes
from secagg.he.summer import EncryptedSummer
from secagg.moduli import Moduli, Scheme


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
            _drawn(where, moduli, of_one, file) for of_one in zip(*seeds, strict=True)
        ]
    return np.concatenate(sums, axis=1)


def _drawn(
    where: Any, moduli: Moduli, seeds: Sequence[bytes], file: MemoryFile
) -> NDArray[np.uint64]:
    """Return the sum of the c1 of some ciphertexts, shape (primes, N).

    SEAL gets a ciphertext that is written here, a c0 of zeros and a seed, of which any
    64 bytes are one.
    """
    api, shape = seal.require_tenseal(), (1, len(moduli.primes), moduli.degree)
    zeros = np.zeros(shape, dtype=np.uint64)
    content = ciphertext_bytes(where.first_parms_id(), zeros, bytes(SEED_BYTES))
    file.put(content)
    summands = []
    for seed in seeds:
        file.patch(seed, len(content) - SEED_BYTES)
        summands.append(api.Ciphertext())
        summands[-1].load(where, file.path)
    total, evaluator = summands[0], api.Evaluator(where)
    for one in summands[1:]:
        evaluator.add_inplace(total, one)
    masks: NDArray[np.uint64] = seal.cipher_words(total, moduli, file)[1]
    return masks


def whole(message: EncryptedInput) -> NDArray[np.uint64]:
    """Return all coefficients of an upload of either kind, shape ``frame.shape``."""
    if message.frame.scheme is Scheme.PUBLIC:
        return message.residues()
    masks = drawn(message.frame, [message.seeds()])
    return np.concatenate([message.residues(), masks], axis=1)
