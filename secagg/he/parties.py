"""Who can do what: a key holder decrypts, an encryptor encrypts, and neither prints.

BFV: Fan and Vercauteren, ePrint 2012/144; public-key encryption as in SEAL 4.  One
secret key is shared by all clients.  The server's side is ``summer``, which imports
nothing from here: no key can be given to it.

Against whom: a server that follows the protocol and has no client's key.  Ciphertexts
of BFV are malleable: ``channel`` has the tags.  ``Moduli.most_clients`` excludes
decryption failures.  A decrypted value is never sent back.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import SEED_BYTES, Frame
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import seal
from secagg.he.encryptors import CompactEncryptor, Encryptor
from secagg.moduli import Scheme
from secagg.prg import Rng, draw


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
