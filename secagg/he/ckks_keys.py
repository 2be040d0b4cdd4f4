"""CKKS through SEAL: the clients' key, which encrypts slots and decrypts sums.

Symmetric encryption, as common deployments have it: every client holds the one secret
key, so a public key would spare nobody from trusting all.  Noise is half that of a
public key's.  What is decrypted comes as ``ClientsOnly``.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.approximate_frame import (
    DEGREE,
    PRIMES,
    SCALE,
    SLOTS,
    SPECIAL,
    ApproximateFrame,
)
from secagg.ciphertext import SEED_BYTES
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import seal
from secagg.he.ckks_result import ClientsOnly
from secagg.he.saved import UnknownFormatError
from secagg.prg import Rng, draw


class _Lattice(NamedTuple):
    degree: int
    primes: tuple[int, ...]


_LATTICE: Final = _Lattice(DEGREE, PRIMES)


class ApproximateKey:
    """The clients' shared secret key.  It never prints, nor is it pickled or copied.

    Args:
        rng: None for the operating system's randomness, drawn by SEAL; an ``Rng`` makes
            the key reproducible, for simulation only.
    """

    __slots__ = ("_secret",)

    def __init__(self, rng: Rng | None = None) -> None:
        context = _shared() if rng is None else _context(rng)
        self._secret = seal.require_tenseal().KeyGenerator(context).secret_key()

    def __repr__(self) -> str:
        return "<ApproximateKey, secret>"

    def __reduce__(self) -> NoReturn:
        raise LocalProtocolError("An ApproximateKey cannot be pickled or copied.")

    def encrypt(
        self, slots: NDArray[np.float64], rng: Rng | None = None
    ) -> NDArray[np.uint64]:
        """Return the coefficients of fresh ciphertexts.

        Args:
            slots: shape (ciphertexts, SLOTS), each below the bounds of the frame.
            rng: As above; each ciphertext takes a seed of its own.

        Returns:
            shape (primes, ciphertexts, 2, N).
        """
        api = seal.require_tenseal()
        residues = np.empty((len(PRIMES), len(slots), 2, DEGREE), dtype=np.uint64)
        shared = _shared()
        encoder, plain = api.CKKSEncoder(shared), api.Plaintext()
        with seal.working_file() as file:
            for row, one in zip(slots, residues.swapaxes(0, 1), strict=True):
                # SEAL starts each sampling of a seeded context from its seed.
                context = shared if rng is None else _context(rng)
                encoder.encode(row.tolist(), SCALE, plain)
                sealed = api.Ciphertext()
                api.Encryptor(context, self._secret).encrypt_symmetric(plain, sealed)
                one[:] = seal.cipher_words(sealed, _LATTICE, file).swapaxes(0, 1)
        return residues

    def decrypt(
        self, frame: ApproximateFrame, residues: NDArray[np.uint64]
    ) -> ClientsOnly[NDArray[np.float64]]:
        """Return the slots of an upload or of a sum, shape (ciphertexts, SLOTS).

        With another key, or if the coefficients were altered, they are huge, and
        ``ckks_slots.read`` tells.

        Args:
            frame: Of the round.
            residues: shape ``frame.shape``, each below its prime.
        """
        context, api = _shared(), seal.require_tenseal()
        encoder, opened = api.CKKSEncoder(context), api.Plaintext()
        decryptor = api.Decryptor(context, self._secret)
        slots = np.empty((frame.ciphertexts, SLOTS))
        with seal.working_file() as file:
            for row, one in zip(slots, residues.swapaxes(0, 1), strict=True):
                loaded = seal.load_ciphertext(
                    context, one.swapaxes(0, 1), file, scale=SCALE
                )
                decryptor.decrypt(loaded, opened)
                row[:] = encoder.decode_double(opened)
        return ClientsOnly(slots)


@lru_cache(maxsize=1)
def _shared() -> Any:
    """Return the context whose randomness is the operating system's, once tried out."""
    made, size = _context(None), 2 * len(PRIMES) * DEGREE
    words = np.arange(size, dtype=np.uint64).reshape(2, len(PRIMES), DEGREE)
    try:
        with seal.working_file() as file:
            loaded = seal.load_ciphertext(made, words, file, scale=SCALE)
            if np.array_equal(seal.cipher_words(loaded, _LATTICE, file), words):
                return made
    except (UnknownFormatError, RuntimeError, ValueError, IndexError):
        pass  # SEAL's own words for a format that it does not know help nobody
    raise ParameterError(
        "this TenSEAL does not read ciphertexts as expected; install the release that "
        'pip install "blindsum[he]" chooses.',
        argument="tenseal",
    )


def _context(rng: Rng | None) -> Any:
    """Return a context; with an ``rng``, for one sampling only."""
    api = seal.require_tenseal()
    chosen = api.EncryptionParameters(api.SCHEME_TYPE.CKKS)
    chosen.set_poly_modulus_degree(DEGREE)
    chosen.set_coeff_modulus([api.Modulus(prime) for prime in (*PRIMES, SPECIAL)])
    if rng is not None:
        words = struct.unpack("<8Q", draw(rng, SEED_BYTES))
        chosen.set_random_generator(api.Blake2xbPRNGFactory(list(words)))
    made = api.SEALContext(chosen, False, api.SEC_LEVEL_TYPE.TC128)
    if not made.parameters_set():
        raise ParameterError(
            f"SEAL refuses the parameters: {made.parameters_error_message()}; use the "
            "TenSEAL release that this package asks for.",
            argument="tenseal",
        )
    return made
