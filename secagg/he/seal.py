"""SEAL's BFV behind TenSEAL's ``sealapi``: contexts, randomness, bare coefficients.

The plain modulus is a power of two, so that plaintexts live in the ring of ``encode``.
SEAL checks the parameters against its 128-bit table (Homomorphic Encryption Standard,
2018) and refuses weaker ones.

Randomness.  By default every sampling of SEAL starts from the operating system's.  A
context made with a seed starts *each* sampling from that seed: two encryptions under it
share their randomness, and their difference is that of the plaintexts in clear.  Hence
``seeded_context`` is for one use, and only ``parties`` calls it.

Files.  What SEAL saves goes through memory (``saved``).  Where that is not to be had,
coefficients are read one by one, and only a ciphertext that is to be decrypted, and
that the server knows, goes through a file: never a key, a message or an encryption of
zero, which tells the message that was later added to it.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.he.saved import (
    MemoryFile,
    ciphertext_bytes,
    ciphertext_words,
    memory_file,
    most_bytes,
    plaintext_words,
    seeded_words,
)
from secagg.moduli import TABLES, Moduli, Scheme


class Lattice(Protocol):
    """The size of a ciphertext, of whatever scheme."""

    @property
    def degree(self) -> int:
        """Return N."""

    @property
    def primes(self) -> tuple[int, ...]:
        """Return those of q."""


class MissingTensealError(ParameterError, ImportError):
    """Homomorphic encryption was asked for, and TenSEAL is not installed."""


class UnsupportedPlatformError(ParameterError):
    """What was asked for cannot be had on this platform; the sentence says the cure."""


def require_tenseal() -> Any:
    """Import and return ``tenseal.sealapi``.

    Raises:
        MissingTensealError: It cannot be imported; the sentence says the cure (caller).
    """
    try:
        from tenseal import sealapi
    except ImportError as error:
        raise MissingTensealError(
            "homomorphic encryption needs TenSEAL, which cannot be imported; run "
            'pip install "blindsum[he]", or use PairwiseMask.',
            argument="tenseal",
        ) from error
    return sealapi


def require_compact() -> None:
    """Check that seeds of ciphertexts can be had here.

    Raises:
        UnsupportedPlatformError: They cannot (caller).
        MissingTensealError: TenSEAL is not installed (caller).
    """
    if not reads_saved():
        raise UnsupportedPlatformError(
            "compact ciphertexts need Linux, whose files can lie in memory, and the "
            'package zstandard; run pip install "blindsum[he]" there, or use '
            "EncryptedSum.",
            argument="platform",
        )


@lru_cache(maxsize=8)
def context(moduli: Moduli, ring_bits: int) -> Any:
    """Return the context whose randomness is the operating system's."""
    made = _context(moduli, ring_bits, None)
    _check_format(made, moduli)
    return made


def seeded_context(moduli: Moduli, ring_bits: int, seed: bytes) -> Any:
    """Return a context for one key generation or one encryption, from 64 bytes."""
    return _context(moduli, ring_bits, struct.unpack("<8Q", seed))


@contextmanager
def working_file() -> Iterator[MemoryFile | None]:
    """Open a file in memory for what SEAL saves; None where that cannot be read."""
    with memory_file() as file:
        yield file if reads_saved() else None


@contextmanager
def compact_file() -> Iterator[MemoryFile]:
    """Open a file in memory for seeds.

    Raises:
        UnsupportedPlatformError: There is none here (caller).
    """
    require_compact()
    with memory_file() as file:
        assert file is not None  # or nothing that is saved could be read
        yield file


@lru_cache(maxsize=1)
def reads_saved() -> bool:
    """Whether what SEAL saves is read back here, tried on known coefficients."""
    api, moduli = require_tenseal(), TABLES[Scheme.COMPACT][0]
    made = _context(moduli, 8, None)
    words = _pattern(moduli)
    try:
        with memory_file() as file:
            if file is None:
                return False
            stored = load_ciphertext(made, words, file)
            if not np.array_equal(cipher_words(stored, moduli, file), words):
                return False
            key = api.KeyGenerator(made).secret_key()
            sealed = api.Encryptor(made, key).encrypt_zero_symmetric()
            c0, seed = zero_with_seed(sealed, moduli, file)
            file.put(ciphertext_bytes(made.first_parms_id(), c0[None], seed))
            whole, opened = api.Ciphertext(), api.Plaintext()
            whole.load(made, file.path)
            api.Decryptor(made, key).decrypt(whole, opened)
            return not plain_words(opened, moduli.degree, file).any()
    except Exception:  # of SEAL, of zlib or of zstandard: all mean the same
        return False


def cipher_words(
    ciphertext: Any, moduli: Lattice, file: MemoryFile | None
) -> NDArray[np.uint64]:
    """Return the coefficients of c0 and c1, shape (2, primes, N), maybe read-only."""
    primes, degree = len(moduli.primes), moduli.degree
    size = 2 * primes * degree
    if file is not None:
        return ciphertext_words(
            file.saved(ciphertext, most_bytes(size)), primes, degree
        )
    return _elements(ciphertext, size).reshape(2, primes, degree)


def zero_with_seed(
    sealed: Any, moduli: Moduli, file: MemoryFile
) -> tuple[NDArray[np.uint64], bytes]:
    """Return c0, shape (primes, N), and the seed of what ``encrypt_symmetric`` gave."""
    primes, degree = len(moduli.primes), moduli.degree
    return seeded_words(file.saved(sealed, most_bytes(primes * degree)), primes, degree)


def plain_words(
    polynomial: Any, count: int, file: MemoryFile | None
) -> NDArray[np.uint64]:
    """Return the first coefficients of a polynomial, shape (count,)."""
    words = np.zeros(count, dtype=np.uint64)
    stored = polynomial.coeff_count()  # leading zeros are not stored
    if file is None:
        stored = min(count, stored)
        words[:stored] = _elements(polynomial, stored)
    else:
        found = plaintext_words(file.saved(polynomial, most_bytes(stored)), stored)
        words[: len(found)] = found[:count]
    return words


def load_ciphertext(
    where: Any,
    words: NDArray[np.uint64],
    file: MemoryFile | None = None,
    *,
    scale: float | None = None,
) -> Any:
    """Return the ciphertext with these coefficients, shape (2, primes, N).

    SEAL's own header is written here, from the shape alone; see ``ciphertext``, and
    ``saved.ciphertext_bytes`` for the scale.
    """
    content = ciphertext_bytes(where.first_parms_id(), words, scale=scale)
    loaded = require_tenseal().Ciphertext()
    if file is not None:
        file.put(content)
        loaded.load(where, file.path)
        return loaded
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ciphertext"
        path.write_bytes(content)
        loaded.load(where, str(path))
    return loaded


def _context(moduli: Moduli, ring_bits: int, seed: tuple[int, ...] | None) -> Any:
    api = require_tenseal()
    chosen = api.EncryptionParameters(api.SCHEME_TYPE.BFV)
    chosen.set_poly_modulus_degree(moduli.degree)
    special = () if moduli.special is None else (moduli.special,)
    primes = (*moduli.primes, *special)
    chosen.set_coeff_modulus([_modulus(prime) for prime in primes])
    chosen.set_plain_modulus(1 << ring_bits)
    if seed is not None:
        chosen.set_random_generator(api.Blake2xbPRNGFactory(list(seed)))
    made = api.SEALContext(chosen, False, api.SEC_LEVEL_TYPE.TC128)
    if not made.parameters_set():
        raise ParameterError(
            f"SEAL refuses the parameters: {made.parameters_error_message()}; use the "
            "TenSEAL release that this package asks for.",
            argument="tenseal",
        )
    return made


@lru_cache(maxsize=16)
def _modulus(prime: int) -> Any:
    """Return SEAL's constants of a prime, which it tests: a tenth of a context."""
    return require_tenseal().Modulus(prime)


def _elements(stored: Any, count: int) -> NDArray[np.uint64]:
    """Read coefficients one by one, where what SEAL saves cannot be read."""
    # `at` checks its bounds; iterating over a DynArray runs past its end and crashes.
    at = stored.dyn_array().at
    return np.fromiter(map(at, range(count)), dtype=np.uint64, count=count)


def _pattern(moduli: Moduli) -> NDArray[np.uint64]:
    words = np.zeros((2, len(moduli.primes), moduli.degree), dtype=np.uint64)
    words[:] = np.arange(1, moduli.degree + 1, dtype=np.uint64)
    words[1] += np.uint64(7)
    return words


def _check_format(made: Any, moduli: Moduli) -> None:
    """Refuse a SEAL that reads the bytes of ``load_ciphertext`` differently."""
    words = _pattern(moduli)
    try:
        with working_file() as file:
            loaded = load_ciphertext(made, words, file)
            if np.array_equal(cipher_words(loaded, moduli, file), words):
                return
    except (RuntimeError, ValueError, IndexError):
        pass  # SEAL's own words for a format that it does not know help nobody
    raise ParameterError(
        "this TenSEAL does not read ciphertexts as expected; install the release that "
        'pip install "blindsum[he]" chooses.',
        argument="tenseal",
    )
