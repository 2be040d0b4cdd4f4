"""Mask streams the slow way: pycryptodome's AES, and ChaCha20 from RFC 8439's text.

Shares nothing with the code under test.
"""

from __future__ import annotations

from Crypto.Cipher import AES

SEGMENT_BYTES = 262144
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439 section 2.3."""
    state = [*_CONSTANTS]
    state += [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]
    state += [counter]
    state += [int.from_bytes(nonce[i : i + 4], "little") for i in range(0, 12, 4)]
    x = list(state)

    def mix(a: int, b: int, d: int, rotation: int) -> None:
        x[a] = (x[a] + x[b]) % 2**32
        turned = (x[d] ^ x[a]) << rotation
        x[d] = turned % 2**32 | turned >> 32

    for _ in range(10):
        for a, b, c, d in _COLUMNS + _DIAGONALS:
            mix(a, b, d, 16)
            mix(c, d, b, 12)
            mix(a, b, d, 8)
            mix(c, d, b, 7)
    words = [(one + two) % 2**32 for one, two in zip(x, state, strict=True)]
    return b"".join(word.to_bytes(4, "little") for word in words)


def stream(cipher: str, key: bytes, count: int) -> bytes:
    """The first bytes of a key's stream."""
    if cipher == "chacha20":
        blocks = range(-(-count // 64))
        return b"".join(chacha20_block(key, i, bytes(12)) for i in blocks)[:count]
    parts = []
    for segment in range(-(-count // SEGMENT_BYTES)):
        nonce = segment.to_bytes(12, "big")
        aes = AES.new(key, AES.MODE_CTR, nonce=nonce, initial_value=2)
        parts.append(aes.encrypt(bytes(SEGMENT_BYTES)))
    return b"".join(parts)[:count]


def add(
    cipher: str, words: list[int], keys: list[tuple[bytes, int]], word_bits: int
) -> list[int]:
    """The words with every stream added."""
    size = word_bits // 8
    streams = [(stream(cipher, key, len(words) * size), sign) for key, sign in keys]
    return [
        (
            word
            + sum(
                sign * int.from_bytes(data[i * size : (i + 1) * size], "little")
                for data, sign in streams
            )
        )
        % 2**word_bits
        for i, word in enumerate(words)
    ]
