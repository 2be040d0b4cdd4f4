"""Keystreams: AES-256-CTR from a full-entropy 256-bit key, and where bytes come from.

The stream of a key is AES-256 in counter mode (NIST SP 800-38A section 6.5) with a
zero initial counter block over a zero plaintext.  Each key is used for one stream
only, which is why the counter may start at zero.  From its third block on it is also
what GCM (SP 800-38D) makes of zeros under a zero nonce, and is computed so where that
is faster (``ciphers``).  Masks have streams of their own, laid out for speed
(``streams``).

``simulation_rng`` is the only source of simulated randomness in the package; whatever
it feeds is reproducible and therefore protects nothing.  This module derives no keys
from Diffie-Hellman secrets and holds no state between calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from secagg import usage
from secagg.ciphers import gcm_is_faster
from secagg.errors import ParameterError
from secagg.ring import RingVector

KEY_BYTES: Final = 32

Rng: TypeAlias = Callable[[int], bytes]
"""``rng(count)`` returns ``count`` fresh random bytes; default ``os.urandom``."""

_BLOCK_BYTES: Final = 1 << 17
_ZEROS: Final = memoryview(bytes(_BLOCK_BYTES))
_WORDS: Final = {bits: np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)}
_SLACK_BYTES: Final = 15  # update_into wants room for one unfinished cipher block
_CIPHER_BLOCK: Final = 16
_GCM_STARTS: Final = 2 * _CIPHER_BLOCK  # the counter of a zero nonce starts at 2
_GCM_PIECE: Final = 1 << 16  # shorter pieces are not worth a second cipher context


def draw(rng: Rng, count: int) -> bytes:
    """Take exactly ``count`` bytes from ``rng``.

    Raises:
        ParameterError: ``rng`` returned something else (caller).
    """
    drawn = rng(count)
    if not isinstance(drawn, bytes) or len(drawn) != count:
        raise ParameterError(
            f"rng({count}) must return exactly {count} bytes; pass os.urandom or "
            "simulation_rng(...).",
            argument="rng",
        )
    return drawn


def keystream(key: bytes, count: int) -> bytes:
    """Return the first ``count`` bytes of the stream of ``key``."""
    return _encryptor(key).update(bytes(count))


def keystream_words(key: bytes, count: int, word_bits: int) -> RingVector:
    """Return ``count`` words of ``word_bits`` (16, 32 or 64) from the stream."""
    encryptor, itemsize = _encryptor(key), word_bits // 8
    held = memoryview(bytearray(count * itemsize + _SLACK_BYTES))
    for start in range(0, count * itemsize, _BLOCK_BYTES):
        size = min(_BLOCK_BYTES, count * itemsize - start)
        encryptor.update_into(_ZEROS[:size], held[start : start + size + _SLACK_BYTES])
    words: RingVector = np.frombuffer(held, dtype=f"<u{itemsize}", count=count)
    return words


class Keystream:
    """The stream of a key, taken piece by piece; for draws and public coefficients.

    Args:
        key: 32 bytes, used for no other stream.
        most_bytes: Largest piece.
        skip: Bytes of the stream that are left out at its start, a multiple of 16.

    Raises:
        ParameterError: The key is not 32 bytes, or ``skip`` no multiple of 16 (caller).
    """

    def __init__(
        self, key: bytes, most_bytes: int = _BLOCK_BYTES, skip: int = 0
    ) -> None:
        if skip % _CIPHER_BLOCK:
            raise ParameterError(
                f"skip={skip} must be a multiple of {_CIPHER_BLOCK}.", argument="skip"
            )
        encryptor, self._head = _encryptor(key, skip // _CIPHER_BLOCK), b""
        if not skip and most_bytes >= _GCM_PIECE and gcm_is_faster():
            self._head = encryptor.update(bytes(_GCM_STARTS))
            encryptor = Cipher(AES(key), GCM(bytes(12))).encryptor()
        self._encryptor = encryptor
        self._buffer = memoryview(bytearray(most_bytes + _SLACK_BYTES))
        self._octets = np.frombuffer(self._buffer, dtype=np.uint8)
        self._zeros = _ZEROS[:most_bytes]
        if most_bytes > _BLOCK_BYTES:
            self._zeros = memoryview(bytes(most_bytes))

    def take(self, count: int, word_bits: int) -> RingVector:
        """Return the next ``count`` words of 8, 16, 32 or 64 bits.

        Args:
            count: Words, ``most_bytes`` at most in all.
            word_bits: Bits of a word, read little-endian.

        Returns:
            shape (count,); valid until the next call, which overwrites it.

        Raises:
            ParameterError: It is more than ``most_bytes`` (caller).
        """
        size, done = count * word_bits // 8, 0
        if size > len(self._zeros):  # the rest would be of an earlier piece, or zero
            raise ParameterError(
                f"a piece of {size} bytes is more than {len(self._zeros)}.",
                argument="count",
            )
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            done = len(head)
            self._buffer[:done] = head
        self._encryptor.update_into(self._zeros[done:size], self._buffer[done:])
        return self._octets[:size].view(_WORDS[word_bits])


def simulation_rng(seed: int | bytes, *names: str | int) -> Rng:
    """Derive a deterministic byte source from a seed, by name.

    Equal (seed, names) give equal bytes, different ones independent bytes.  A round
    whose randomness comes from here is a simulation and protects nobody.

    Args:
        seed: Non-negative integer below 2^256, or bytes.
        *names: Who and what for, for example ``("round", 3, "site-1")``.

    Returns:
        A stateful ``Rng``: successive calls continue one stream.

    Raises:
        ParameterError: The seed is out of range (caller).
    """
    if isinstance(seed, int):
        if not 0 <= seed < 1 << 256:
            raise ParameterError(
                f"seed={seed} must be in 0..2^256 - 1.", argument="seed"
            )
        seed_part = b"int" + seed.to_bytes(32, "little")
    else:
        seed_part = b"raw" + seed
    parts = [
        b"int:%d" % name if isinstance(name, int) else b"str:" + name.encode()
        for name in names
    ]
    encryptor = _encryptor(usage.digest(usage.TAG_SIMULATION, seed_part, *parts))

    def rng(count: int) -> bytes:
        return encryptor.update(bytes(count))

    return rng


def _encryptor(key: bytes, start: int = 0) -> CipherContext:
    """Return the cipher of a stream, from its block number ``start`` on."""
    if len(key) != KEY_BYTES:
        raise ParameterError(
            f"a keystream key has {KEY_BYTES} bytes, got {len(key)}.", argument="key"
        )
    counter = start.to_bytes(_CIPHER_BLOCK, "big")
    return Cipher(AES(key), CTR(counter)).encryptor()
