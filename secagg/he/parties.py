"""Who can do what: a key holder decrypts, an encryptor encrypts, and neither prints.

BFV: Fan and Vercauteren, ePrint 2012/144; public-key encryption as in SEAL 4.  One
secret key is shared by all clients.  The server's side is ``summer``, which imports
nothing from here: no key can be given to it.

Against whom: a server that follows the protocol and has no client's key.  SEAL gives
encryptions of zero, to which the words are added here (``scaling``).  Ciphertexts of
BFV are malleable: ``channel`` has the tags.  ``Moduli.most_clients`` excludes
decryption failures.  A decrypted value is never sent back.
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
from secagg.moduli import Scheme
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


class KeyHolder:
    """The clients' shared secret key: opens any upload and any sum.

    It never prints, and cannot be pickled or copied.  CPython and SEAL may leave copies
    of the key in freed memory.

    Args:
        frame: Its ring decides the parameters; the length does not matter.
        rng: None for the operating system's randomness, drawn by SEAL; an ``Rng`` makes
            the keys reproducible, for simulation only.
    """

    __slots__ = ("_bits", "_moduli", "_public", "_secret")

    def __init__(self, frame: Frame, rng: Rng | None = None) -> None:
        api = seal.require_tenseal()
        moduli, bits = frame.moduli, frame.where.ring.bits
        first = second = seal.context(moduli, bits)
        if rng is not None:
            # Two seeds: the public key's polynomials must not be drawn from the stream
            # that the secret key was drawn from.
            first = seal.seeded_context(moduli, bits, draw(rng, SEED_BYTES))
            second = seal.seeded_context(moduli, bits, draw(rng, SEED_BYTES))
        self._bits = bits
        self._moduli = moduli
        self._secret = api.KeyGenerator(first).secret_key()
        self._public = None
        if moduli.scheme is Scheme.PUBLIC:
            self._public = api.PublicKey()
            api.KeyGenerator(second, self._secret).create_public_key(self._public)

    def __repr__(self) -> str:
        return "<KeyHolder of a secret key>"

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError("A KeyHolder cannot be pickled or copied.")

    def encryptor(self, frame: Frame, rng: Rng | None = None) -> Encryptor:
        """Return what a client needs to upload: the public key only."""
        self._check(frame)
        if self._public is None:
            raise ParameterError(
                "a compact frame has no public key; use compact_encryptor.",
                argument="frame",
            )
        return Encryptor(frame, self._public, rng)

    def compact_encryptor(
        self, frame: Frame, rng: Rng | None = None
    ) -> CompactEncryptor:
        """Return what a client needs to upload under a compact frame: the secret key.

        Raises:
            UnsupportedPlatformError: SEAL's seeds cannot be read here (caller).
        """
        self._check(frame)
        if self._public is not None:
            raise ParameterError(
                "this frame is not compact; use encryptor.", argument="frame"
            )
        seal.require_compact()
        return CompactEncryptor(frame, self._secret, rng)

    def decrypt(self, frame: Frame, residues: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the words of a ciphertext or of a sum of ciphertexts.

        With another key, or if the coefficients were altered, the words are wrong, and
        ``encode.decode_sum`` tells.

        Args:
            frame: Of the upload.
            residues: shape ``frame.shape``, each below its prime.

        Returns:
            shape (frame.where.words,), below 2^r.
        """
        self._check(frame)
        context = seal.context(self._moduli, self._bits)
        api, count = seal.require_tenseal(), frame.where.words
        decryptor, opened = api.Decryptor(context, self._secret), api.Plaintext()
        degree = frame.moduli.degree
        words = np.zeros(count, dtype=np.uint64)
        pair = np.zeros((2, len(residues), degree), dtype=np.uint64)
        with seal.working_file() as file:
            for i, start in enumerate(range(0, count, degree)):
                part = words[start : start + degree]
                at = count + i * degree
                pair[0, :, : len(part)] = residues[:, start : start + len(part)]
                pair[0, :, len(part) :] = 0
                pair[1] = residues[:, at : at + degree]
                decryptor.decrypt(seal.load_ciphertext(context, pair, file), opened)
                part[:] = seal.plain_words(opened, len(part), file)
        return words

    def _check(self, frame: Frame) -> None:
        if (frame.moduli, frame.where.ring.bits) != (self._moduli, self._bits):
            raise ParameterError(
                f"this key is for a ring of {self._bits} bits, the frame has "
                f"{frame.where.ring.bits}; make a KeyHolder for this frame.",
                argument="frame",
            )
