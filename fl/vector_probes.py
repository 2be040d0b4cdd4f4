"""Pieces of a round along the vector, to time: the same calls, up to a million values.

Everything drawn here is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import numpy as np

import secagg
from fl.probe import Probe
from secagg import encode, masks, offered
from secagg.cost import Operation
from secagg.keys import Secret
from secagg.prg import KEY_BYTES

_ID: Final = bytes(range(32))
_MOST_VALUES: Final = 1 << 20
_MASK_KEYS: Final = 33
_MASK_BYTES: Final = 1 << 25  # of keystream in one call


def vector_probes(plan: secagg.Plan, length: int) -> Iterator[Probe]:
    """Yield a probe for each operation along the vector."""
    op, agreed = Operation, plan.encoder
    where = encode.layout(
        agreed, clients=plan.clients, length=min(length, _MOST_VALUES)
    )
    vector = np.random.default_rng(0).normal(size=where.length).astype(np.float32)
    vector *= 0.5 * agreed.clip_norm_l2 / max(1.0, float(np.linalg.norm(vector)))

    def encoded() -> object:
        given = offered.check_form(vector)
        key = os.urandom(KEY_BYTES)
        made = encode.encode(agreed, where, given, 1, context=_ID, key=key)
        encode.seal(where, made, _ID, _ID)
        return made

    yield Probe(op.VALUE_ENCODED, encoded, where.length)
    words = where.ring.zeros(where.words)

    packed = memoryview(bytearray(where.packed_bytes))
    yield Probe(op.WORD_PACKED, lambda: where.ring.pack_into(words, packed), len(words))
    total = where.ring.zeros(where.words)

    def add() -> None:
        where.ring.add_packed(total, packed)

    yield Probe(op.WORD_SUMMED, add, len(words))
    keys = min(plan.k + 1, _MASK_KEYS)
    few = words[: max(1, _MASK_BYTES // (keys * words.itemsize))]
    own, pairs = Secret(_ID), {i + 1: Secret(os.urandom(32)) for i in range(keys - 1)}

    held_keys = [(key, 1) for key in (own, *pairs.values())]

    def mask() -> None:
        masks.add_masks(few, me=0, own=own, pairs=pairs, cipher=plan.cipher)

    def unmask() -> None:
        masks.remove_all(few, held_keys, cipher=plan.cipher)

    yield Probe(op.MASK_BYTE, mask, keys * few.nbytes)
    yield Probe(op.UNMASK_BYTE, unmask, keys * few.nbytes)
    one = where.ring.zeros(where.words)
    one[where.length] = 1
    mean = np.empty(where.length, dtype=np.float32)
    encode.seal(where, one, _ID, _ID)
    yield Probe(
        op.VALUE_DECODED,
        lambda: encode.decode_sum(agreed, where, one, _ID, _ID, clients=1, into=mean),
        where.length,
    )
