"""Who can do what: a key holder decrypts, an encryptor encrypts, and neither prints.

BFV: Fan and Vercauteren, ePrint 2012/144; public-key encryption as in SEAL 4.  One
secret key is shared by all clients.  The server's side is ``summer``, which imports
nothing from here: no key can be given to it.

Against whom: a server that follows the protocol and has no client's key.  BFV
ciphertexts are malleable and carry no authentication; a transport has to add it.
``Moduli.most_clients`` excludes decryption failures, which are what attacks on exact
schemes start from (ePrint 2024/127).  A decrypted value is never sent back.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import POLY_DEGREE, Frame
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import seal
from secagg.prg import Rng, draw


class Encryptor:
    """Encrypts one client's words under the public key; it cannot decrypt.

    Made by ``KeyHolder.encryptor``.  With an ``rng`` it serves one upload only, each
    ciphertext from a seed of its own: randomness is never used twice.
    """

    __slots__ = ("_frame", "_prepared", "_public", "_shared")

    def __init__(self, frame: Frame, public: Any, rng: Rng | None) -> None:
        moduli, bits = frame.moduli, frame.where.ring.bits
        self._frame = frame
        self._public = public
        self._shared = seal.context(moduli, bits) if rng is None else None
        self._prepared: list[Any] = []
        if rng is not None:
            seeds = [draw(rng, seal.SEED_BYTES) for _ in range(frame.ciphertexts)]
            self._prepared = [seal.seeded_context(moduli, bits, s) for s in seeds]

    def __repr__(self) -> str:
        return "<Encryptor with a public key>"

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError(
            "An Encryptor cannot be pickled or copied, for two would share randomness."
        )

    def encrypt(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the coefficients of fresh ciphertexts.

        Args:
            words: shape (frame.where.words,), each below 2^r.

        Returns:
            shape ``frame.shape``.

        Raises:
            LocalProtocolError: A seeded encryptor was used twice (caller).
        """
        frame = self._frame
        if words.shape != (frame.where.words,):
            raise ParameterError(
                f"words has shape {words.shape}, expected ({frame.where.words},).",
                argument="words",
            )
        api = seal.require_tenseal()
        plain, masks = [], []
        for start in range(0, len(words), POLY_DEGREE):
            part = words[start : start + POLY_DEGREE]
            sealed = api.Ciphertext()
            api.Encryptor(self._context(), self._public).encrypt(
                seal.plaintext(part), sealed
            )
            c0, c1 = seal.cipher_words(sealed, frame.moduli, len(part))
            plain.append(c0)
            masks.append(c1)
        return np.concatenate([*plain, *masks], axis=1)

    def _context(self) -> Any:
        if self._shared is not None:
            return self._shared
        if not self._prepared:
            raise LocalProtocolError(
                "a seeded Encryptor serves one upload; make another one."
            )
        return self._prepared.pop(0)


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
            first = seal.seeded_context(moduli, bits, draw(rng, seal.SEED_BYTES))
            second = seal.seeded_context(moduli, bits, draw(rng, seal.SEED_BYTES))
        self._bits = bits
        self._moduli = moduli
        self._secret = api.KeyGenerator(first).secret_key()
        self._public = api.PublicKey()
        api.KeyGenerator(second, self._secret).create_public_key(self._public)

    def __repr__(self) -> str:
        return "<KeyHolder of a secret key>"

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError("A KeyHolder cannot be pickled or copied.")

    def encryptor(self, frame: Frame, rng: Rng | None = None) -> Encryptor:
        """Return what a client needs to upload: the public key only."""
        self._check(frame)
        return Encryptor(frame, self._public, rng)

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
        words = np.zeros(count, dtype=np.uint64)
        for i, start in enumerate(range(0, count, POLY_DEGREE)):
            part = words[start : start + POLY_DEGREE]
            mask_at = count + i * POLY_DEGREE
            pair = np.zeros((2, len(residues), POLY_DEGREE), dtype=np.uint64)
            pair[0, :, : len(part)] = residues[:, start : start + len(part)]
            pair[1] = residues[:, mask_at : mask_at + POLY_DEGREE]
            decryptor.decrypt(seal.load_ciphertext(context, pair), opened)
            part[:] = seal.plain_words(opened, len(part))
        return words

    def _check(self, frame: Frame) -> None:
        if (frame.moduli, frame.where.ring.bits) != (self._moduli, self._bits):
            raise ParameterError(
                f"this key is for a ring of {self._bits} bits, the frame has "
                f"{frame.where.ring.bits}; make a KeyHolder for this frame.",
                argument="frame",
            )
