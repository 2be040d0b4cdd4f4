"""What encrypts: under the public key, or, in half the bytes, under the secret key.

SEAL gives encryptions of zero, to which the words are added here (``scaling``), so that
no message leaves this process's arrays.  Both encryptors are made by
``parties.KeyHolder``, and neither prints.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import SEED_BYTES, Frame
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import seal
from secagg.he.scaling import add_message
from secagg.prg import Rng, draw


class _Encryptor:
    """SEAL's encryptors of zero: one for all, or one for each ciphertext of an upload.

    With an ``rng`` it serves one upload only, each ciphertext from a seed of its own:
    randomness is never used twice.

    Attributes:
        setup_s: Seconds spent on contexts of seeds, which only a simulation has.
    """

    __slots__ = ("_frame", "_key", "_seeds", "_shared", "setup_s")

    def __init__(self, frame: Frame, key: Any, rng: Rng | None) -> None:
        self._frame, self._key = frame, key
        self._shared: Any = None
        self._seeds: list[bytes] = []
        self.setup_s = 0.0
        if rng is None:
            context = seal.context(frame.moduli, frame.where.ring.bits)
            self._shared = seal.require_tenseal().Encryptor(context, key)
        else:
            self._seeds = [draw(rng, SEED_BYTES) for _ in range(frame.ciphertexts)]

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError(
            "An Encryptor cannot be pickled or copied, for two would share randomness."
        )

    def _parts(self, words: NDArray[np.uint64]) -> Iterator[tuple[slice, Any]]:
        """Yield the words of each ciphertext, and what encrypts it."""
        count, degree = self._frame.where.words, self._frame.moduli.degree
        if words.shape != (count,):
            raise ParameterError(
                f"words has shape {words.shape}, expected ({count},).",
                argument="words",
            )
        for start in range(0, count, degree):
            yield slice(start, min(start + degree, count)), self._shared or self._next()

    def _next(self) -> Any:
        """Return the encryptor of the next seed, whose tables are large."""
        if not self._seeds:
            raise LocalProtocolError(
                "a seeded Encryptor serves one upload; make another one."
            )
        started, frame = time.process_time(), self._frame
        context = seal.seeded_context(
            frame.moduli, frame.where.ring.bits, self._seeds.pop(0)
        )
        made = seal.require_tenseal().Encryptor(context, self._key)
        self.setup_s += time.process_time() - started
        return made

    def _add_message(
        self, c0: NDArray[np.uint64], carried: NDArray[np.uint64], words: Any
    ) -> None:
        carried[:] = c0[:, : len(words)]
        add_message(carried, words, self._frame.moduli, self._frame.where.ring.bits)


class Encryptor(_Encryptor):
    """Encrypts one client's words under the public key; it cannot decrypt.

    Made by ``KeyHolder.encryptor``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<Encryptor with a public key>"

    def encrypt(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the coefficients of fresh ciphertexts.

        Args:
            words: shape (frame.where.words,), each below 2^r.

        Returns:
            shape ``frame.shape``.

        Raises:
            LocalProtocolError: A seeded encryptor was used twice (caller).
        """
        moduli, at = self._frame.moduli, len(words)
        residues = np.empty(self._frame.shape, dtype=np.uint64)
        zero = seal.require_tenseal().Ciphertext()
        with seal.working_file() as file:
            for part, encryptor in self._parts(words):
                encryptor.encrypt_zero(zero)
                c0, c1 = seal.cipher_words(zero, moduli, file)
                self._add_message(c0, residues[:, part], words[part])
                residues[:, at : at + moduli.degree] = c1
                at += moduli.degree
        return residues

    def body(self, words: NDArray[np.uint64]) -> bytes:
        """Return the ciphertexts as an upload holds them."""
        return self._frame.pack(self.encrypt(words))


class CompactEncryptor(_Encryptor):
    """Encrypts one client's words under the secret key, which it holds.

    c1 is uniform, and drawn from a seed of 64 bytes that SEAL makes for each ciphertext
    (``Ciphertext`` "seeded", SEAL 4): the seed is sent in its place.  Made by
    ``KeyHolder.compact_encryptor``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<CompactEncryptor with a secret key>"

    def encrypt(
        self, words: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], list[bytes]]:
        """Return c0 of fresh ciphertexts, shape ``frame.input_shape``, and the seeds.

        Args:
            words: shape (frame.where.words,), each below 2^r.

        Raises:
            UnsupportedPlatformError: SEAL's seeds cannot be read here (caller).
            LocalProtocolError: A seeded encryptor was used twice (caller).
        """
        residues, seeds = np.empty(self._frame.input_shape, dtype=np.uint64), []
        with seal.compact_file() as file:
            for part, encryptor in self._parts(words):
                zero = encryptor.encrypt_zero_symmetric()
                c0, seed = seal.zero_with_seed(zero, self._frame.moduli, file)
                self._add_message(c0, residues[:, part], words[part])
                seeds.append(seed)
        return residues, seeds

    def body(self, words: NDArray[np.uint64]) -> bytes:
        """Return the ciphertexts as an upload holds them."""
        residues, seeds = self.encrypt(words)
        return b"".join((self._frame.pack(residues), *seeds))
