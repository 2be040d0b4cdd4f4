"""SEAL's BFV behind TenSEAL's ``sealapi``: contexts, randomness, bare coefficients.

The plain modulus is a power of two, so that plaintexts live in the ring of ``encode``.
SEAL checks the parameters against its 128-bit table (Homomorphic Encryption Standard,
2018) and refuses weaker ones.

Randomness.  By default every sampling of SEAL starts from the operating system's.  A
context made with a seed starts *each* sampling from that seed: two encryptions under it
share their randomness, and their difference is that of the plaintexts in clear.  Hence
``seeded_context`` is for one use, and only ``parties`` calls it.

No secret goes through a file: only ciphertexts do, which ``sealapi`` loads from paths
alone, and on Linux that path is memory.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import POLY_DEGREE, Moduli
from secagg.errors import ParameterError

SEED_BYTES: Final = 64
_MAGIC: Final = 0xA15E
_HEADER = struct.Struct("<HBBBBHQ")  # magic, own size, version, compression, 0, size
_CIPHERTEXT = struct.Struct("<4QBQQQdQ")
_PROC: Final = Path("/proc/self/fd")


class MissingTensealError(ParameterError, ImportError):
    """Homomorphic encryption was asked for, and TenSEAL is not installed."""


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


@lru_cache(maxsize=8)
def context(moduli: Moduli, ring_bits: int) -> Any:
    """Return the context whose randomness is the operating system's."""
    made = _context(moduli, ring_bits, None)
    _check_format(made, moduli)
    return made


def seeded_context(moduli: Moduli, ring_bits: int, seed: bytes) -> Any:
    """Return a context for one key generation or one encryption, from 64 bytes."""
    return _context(moduli, ring_bits, struct.unpack("<8Q", seed))


def plaintext(words: NDArray[np.uint64]) -> Any:
    """Return the polynomial with these coefficients, shape (count,), in memory only."""
    # sealapi takes a polynomial as text or from a file; a vector belongs in no file.
    first, *others = words.tolist()
    powers = range(len(others), 0, -1)
    terms = [f"{c:X}x^{i}" for i, c in zip(powers, reversed(others), strict=True)]
    return require_tenseal().Plaintext(" + ".join([*terms, f"{first:X}"]))


def plain_words(polynomial: Any, count: int) -> NDArray[np.uint64]:
    """Return the first coefficients of a polynomial, shape (count,)."""
    words = np.zeros(count, dtype=np.uint64)
    stored = min(count, polynomial.coeff_count())  # leading zeros are not stored
    words[:stored] = _elements(polynomial, stored)
    return words


def cipher_words(
    ciphertext: Any, moduli: Moduli, count: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first ``count`` coefficients of c0 and all of c1, by prime.

    Returns:
        shape (primes, count), and shape (primes, N).
    """
    primes = len(moduli.primes)
    size = primes * POLY_DEGREE  # sealapi stores c0 before c1, and by prime
    starts = range(0, size, POLY_DEGREE)
    c0 = [_elements(ciphertext, count, start) for start in starts]
    c1 = _elements(ciphertext, size, size)
    return np.stack(c0), c1.reshape(primes, POLY_DEGREE)


def load_ciphertext(where: Any, words: NDArray[np.uint64]) -> Any:
    """Return the ciphertext with these coefficients, shape (2, primes, N).

    SEAL's own header is written here, from the shape alone; see ``ciphertext``.
    """
    size, primes, degree = words.shape
    inner = struct.pack("<Q", words.size) + words.astype("<u8").tobytes()
    outer = _CIPHERTEXT.pack(*where.first_parms_id(), 0, size, degree, primes, 1.0, 1)
    loaded = require_tenseal().Ciphertext()
    with _path_to(_framed(outer + _framed(inner))) as path:
        loaded.load(where, path)
    return loaded


def _context(moduli: Moduli, ring_bits: int, seed: tuple[int, ...] | None) -> Any:
    api = require_tenseal()
    chosen = api.EncryptionParameters(api.SCHEME_TYPE.BFV)
    chosen.set_poly_modulus_degree(POLY_DEGREE)
    primes = (*moduli.primes, moduli.special)
    chosen.set_coeff_modulus([api.Modulus(prime) for prime in primes])
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


def _elements(stored: Any, count: int, start: int = 0) -> NDArray[np.uint64]:
    """Read coefficients one by one: sealapi saves nothing without compression."""
    # `at` checks its bounds; iterating over a DynArray runs past its end and crashes.
    at = stored.dyn_array().at
    wanted = range(start, start + count)
    return np.fromiter(map(at, wanted), dtype=np.uint64, count=count)


def _framed(body: bytes) -> bytes:
    version = (4, 3)  # of SEAL's format; any 4.x is accepted
    total = _HEADER.size + len(body)
    return _HEADER.pack(_MAGIC, _HEADER.size, *version, 0, 0, total) + body


def _check_format(made: Any, moduli: Moduli) -> None:
    """Refuse a SEAL that reads the bytes of ``load_ciphertext`` differently."""
    words = np.zeros((2, len(moduli.primes), POLY_DEGREE), dtype=np.uint64)
    words[:] = np.arange(1, POLY_DEGREE + 1, dtype=np.uint64)
    try:
        loaded = load_ciphertext(made, words)
        if np.array_equal(cipher_words(loaded, moduli, POLY_DEGREE), words):
            return
    except (RuntimeError, ValueError, IndexError):
        pass  # SEAL's own words for a format that it does not know help nobody
    raise ParameterError(
        "this TenSEAL does not read ciphertexts as expected; install the release that "
        'pip install "blindsum[he]" chooses.',
        argument="tenseal",
    )


@contextmanager
def _path_to(content: bytes) -> Iterator[str]:
    """Put bytes where a path leads: in memory on Linux, else in a temporary file."""
    if hasattr(os, "memfd_create") and _PROC.is_dir():
        with os.fdopen(os.memfd_create("blindsum"), "wb") as file:
            file.write(content)
            file.flush()
            yield str(_PROC / str(file.fileno()))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ciphertext"
        path.write_bytes(content)
        yield str(path)
