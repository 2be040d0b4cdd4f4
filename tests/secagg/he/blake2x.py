"""BLAKE2Xb from its specification, slowly: the stream that SEAL draws a c1 from.

Aumasson, Neves, O'Hearn, Winnerlein, "BLAKE2X" (2016), over BLAKE2b (RFC 7693).  The
root hash is hashlib's; the nodes behind it have a depth of 0, which hashlib refuses.
"""

import hashlib
import struct

MASK = (1 << 64) - 1
IV = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
LANES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def blake2b_of_one_block(data: bytes, parameters: bytes) -> bytes:
    """RFC 7693 section 3.2, for at most 128 bytes, without a key, any parameters."""
    words = struct.unpack("<8Q", parameters)
    state = [a ^ b for a, b in zip(IV, words, strict=True)]
    v = [*state, *IV]
    v[12] ^= len(data)
    v[14] ^= MASK
    m = struct.unpack("<16Q", data.ljust(128, b"\0"))
    for i in range(12):
        s = SIGMA[i % 10]
        for j, (a, b, c, d) in enumerate(LANES):
            for x, (r, q) in zip(
                (s[2 * j], s[2 * j + 1]), ((32, 24), (16, 63)), strict=True
            ):
                v[a] = (v[a] + v[b] + m[x]) & MASK
                v[d] = _rotated(v[d] ^ v[a], r)
                v[c] = (v[c] + v[d]) & MASK
                v[b] = _rotated(v[b] ^ v[c], q)
    mixed = (state[i] ^ v[i] ^ v[i + 8] for i in range(8))
    return struct.pack("<8Q", *mixed)


def blake2xb(data: bytes, key: bytes, size: int, blocks: int) -> bytes:
    """Return the first blocks of 64 bytes of ``size`` bytes of output."""
    root = hashlib.blake2b(data, key=key, node_offset=size << 32).digest()
    nodes = (
        struct.pack("<BBBBIIIBB46x", 64, 0, 0, 0, 64, i, size, 0, 64)
        for i in range(blocks)
    )
    return b"".join(blake2b_of_one_block(root, node) for node in nodes)


def _rotated(word: int, by: int) -> int:
    return (word >> by) | (word << (64 - by)) & MASK
