"""What one client's words are, from the formulas, in integers and fractions.

Nothing is imported from the package: keys, hashes, keystream (by another library),
signs, rotation, rounding, weights and checksums are all written again, one value at a
time.  The rotation is exact where W is a power of four, so that sqrt(W) is a fraction.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from fractions import Fraction

from Crypto.Cipher import AES

PREFIX = b"blindsum/secagg/%d/"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An encoder's numbers, and a round's."""

    clip: float
    value_bits: int
    weight_max: int
    rotate: bool
    prescale: bool
    clients: int
    scale: float  # stated by the encoder; compared with its formula elsewhere
    version: int

    @property
    def ring_bits(self) -> int:
        if self.prescale:
            bits = self.value_bits + math.ceil(math.log2(self.clients))
            return max(bits, (self.clients * self.weight_max).bit_length())
        return self.value_bits + math.ceil(math.log2(self.clients * self.weight_max))


def hashed(setting: Setting, name: bytes, *parts: bytes) -> bytes:
    state = hashlib.sha256()
    for part in (PREFIX % setting.version + name, *parts):
        state.update(struct.pack("<Q", len(part)) + part)
    return state.digest()


def stream(key: bytes, count: int) -> bytes:
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=0)
    return cipher.encrypt(bytes(count))


def words(
    setting: Setting,
    vector: list[float],
    weight: int,
    *,
    key: bytes,
    context: bytes,
    round_id: bytes,
) -> list[int]:
    """Return values, weight and checksums, each in 0..2^r - 1."""
    values = [Fraction(v) for v in vector]
    if setting.rotate:
        values = rotated(setting, values, context)
    factor, multiplier = Fraction(setting.scale), weight
    if setting.prescale:
        factor, multiplier = factor * weight / setting.weight_max, 1
    bits = min(32, 52 - setting.value_bits)
    draws = struct.unpack(f"<{len(values)}I", stream(key, 4 * len(values)))
    most = Fraction(2 ** (setting.value_bits - 1)) - Fraction(3, 2)
    done = []
    for value, draw in zip(values, draws, strict=True):
        fixed = round(min(max(value * factor, -most), most) * 2**bits)
        rounded = (fixed + (draw >> (32 - bits))) // 2**bits
        done.append(rounded * multiplier)
    done.append(weight)
    modulus = 2**setting.ring_bits
    return [
        word % modulus for word in done + checksums(setting, done, round_id, context)
    ]


def checksums(
    setting: Setting, done: list[int], round_id: bytes, context: bytes
) -> list[int]:
    count = math.ceil(64 / setting.ring_bits)
    native = next(w for w in (16, 32, 64) if w >= setting.ring_bits) // 8
    key = hashed(setting, b"integrity-coefficients", round_id + context)
    drawn = stream(key, native * (len(done) + count - 1))
    a = [
        int.from_bytes(drawn[i : i + native], "little")
        for i in range(0, len(drawn), native)
    ]
    return [sum(a[i + j] * word for i, word in enumerate(done)) for j in range(count)]


def rotated(setting: Setting, values: list[Fraction], context: bytes) -> list[Fraction]:
    flags = 1 * setting.rotate + 2 * setting.prescale
    encoder = struct.pack(
        "<dBIB", setting.clip, setting.value_bits, setting.weight_max, flags
    )
    size = struct.pack("<Q", len(values))
    seed = hashed(setting, b"rotation", context, encoder, size)
    width = 2 ** int(math.log2(len(values)))
    root = math.isqrt(width)
    assert root * root == width
    starts = [0] if width == len(values) else [0, len(values) - width]
    for step, start in enumerate(starts):
        signs = stream(
            hashed(setting, b"rotation-signs", seed, bytes([step])), width // 8
        )
        part = [
            -value if signs[i // 8] >> (i % 8) & 1 else value
            for i, value in enumerate(values[start : start + width])
        ]
        values[start : start + width] = [value / root for value in hadamard(part)]
    return values


def hadamard(values: list[Fraction]) -> list[Fraction]:
    """Multiply by the Hadamard matrix, by halves."""
    if len(values) == 1:
        return values
    half = len(values) // 2
    low, high = hadamard(values[:half]), hadamard(values[half:])
    return [a + b for a, b in zip(low, high, strict=True)] + [
        a - b for a, b in zip(low, high, strict=True)
    ]
