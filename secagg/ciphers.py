"""The ciphers of mask streams: from a 256-bit key to the bytes of a segment.

Two ciphers, each with one layout of the stream, in segments of 2^18 bytes.  Every key
is used for one stream only, which is why nonces and counters may be the same for all.

``aes-256-ctr``: segment j is AES-256 in counter mode (NIST SP 800-38A section 6.5) over
zeros, from the counter block whose first 12 bytes are j and whose last 4 are 2, both
big-endian.  These are the bytes that AES-256-GCM (SP 800-38D) makes of zeros under the
nonce j, without the tag.  OpenSSL computes GCM in wide vectors where it computes CTR in
narrow ones: twice as fast on recent processors, though it hashes as well.  Which of the
two makes the bytes is measured once per process.

``chacha20``: the stream of RFC 8439 section 2.4 with a zero nonce and the counter from
0.  The counter has 32 bits: a key gives at most 2^38 bytes (256 GiB), and no more is
drawn.

This module adds nothing to anything and starts no thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR

from secagg.usage import AES_256_CTR, CHACHA20

KEY_BYTES: Final = 32
SEGMENT_BYTES: Final = 1 << 18
"""Measured best of 2^14..2^20, with 2^17 and 2^19 close: two of them, stream and sums,
fit a second-level cache of 1 MiB, calls cost little beside their work, and threads
seldom meet at the interpreter's lock."""
SLACK_BYTES: Final = 16
"""What a target must hold beyond its source: a GCM tag, or one unfinished block."""
MAX_BYTES: Final = {AES_256_CTR: SEGMENT_BYTES << 96, CHACHA20: 64 << 32}
"""Bytes of one key's stream; of ChaCha20 by RFC 8439 section 2.3: 64-byte blocks."""

Write: TypeAlias = Callable[..., object]
"""Called with ``arguments(...)``, it writes one segment of a key's stream."""

_FIRST_COUNTER: Final = (2).to_bytes(4, "big")
_CHACHA_BLOCK_BYTES: Final = 64


def open_stream(cipher: str, key: bytes, segment: int) -> Write:
    """Return what writes a key's segments, from ``segment`` on and in order."""
    if cipher == CHACHA20:
        # `cryptography` takes counter (4 bytes, little-endian) and nonce as one.
        block = segment * SEGMENT_BYTES // _CHACHA_BLOCK_BYTES
        state = ChaCha20(key, block.to_bytes(4, "little") + bytes(12))
        return Cipher(state, None).encryptor().update_into
    return _gcm(key) if gcm_is_faster() else _ctr(key)


def arguments(
    cipher: str, segment: int, zeros: memoryview, target: memoryview
) -> tuple[object, ...]:
    """Return what ``Write`` takes to write one segment, equal for all keys.

    Args:
        cipher: As in ``open_stream``.
        segment: Its number; an unfinished segment is the last one.
        zeros: As many zeros as bytes are wanted.
        target: ``SLACK_BYTES`` longer; what stands in the slack afterwards is no part
            of the stream.
    """
    if cipher == CHACHA20:
        return zeros, target
    return segment.to_bytes(12, "big"), zeros, None, target


def _gcm(key: bytes) -> Write:
    return AESGCM(key).encrypt_into


def _ctr(key: bytes) -> Write:
    aes = AES(key)

    def write(nonce: bytes, zeros: memoryview, _: None, target: memoryview) -> None:
        mode = CTR(nonce + _FIRST_COUNTER)
        Cipher(aes, mode).encryptor().update_into(zeros, target)

    return write


@lru_cache(maxsize=1)
def gcm_is_faster() -> bool:
    """Tell which code of this machine is faster; both write the same bytes."""
    if not hasattr(AESGCM, "encrypt_into"):  # an old `cryptography`
        return False
    call = bytes(12), bytes(SEGMENT_BYTES), None, bytearray(SEGMENT_BYTES + SLACK_BYTES)

    def seconds(opened: Callable[[bytes], Write]) -> float:
        write, spans = opened(bytes(KEY_BYTES)), []
        for _ in range(4):  # the first warms up; 0.2 ms in all
            began = time.perf_counter()
            write(*call)
            spans.append(time.perf_counter() - began)
        return min(spans)

    return seconds(_gcm) < seconds(_ctr)
