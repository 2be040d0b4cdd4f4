"""Masks: the two keys per client that hide an upload, and how they are added.

Bonawitz et al., CCS 2017, section 4: client u uploads

    y_u = x_u + PRG(b_u) + sum over v in u2 of sign(u, v) PRG(s_uv)      modulo 2^r

with sign(u, v) = +1 if u > v and -1 otherwise, so that pairwise masks cancel in the sum
over u2.  Beyond the paper, every mask key is bound to the round, to the list of
advertised keys and to the context of the update: clients who disagree on any of them
add up to noise.

This module sends nothing and checks no thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from secagg import usage
from secagg.errors import LocalProtocolError
from secagg.keys import Secret, derive
from secagg.ring import RingVector
from secagg.streams import add_streams
from secagg.usage import AES_256_CTR

_BATCH_KEYS: Final = 256  # their cipher contexts take well below 1 MiB


@dataclass(frozen=True, slots=True)
class Binding:
    """What the masks of one round are bound to; all of it is public.

    Attributes:
        round_id: Digest of session, plan, roster and length.
        key_list: Digest of the keys of u1.
    """

    round_id: bytes
    key_list: bytes


class Prepared:
    """The sum of one client's masks, made before its words are known; used once.

    Attributes:
        context: What the masks are bound to, beside round and key list.
    """

    __slots__ = ("_masks", "context")

    def __init__(self, context: bytes, masks: RingVector) -> None:
        self.context = context
        self._masks: RingVector | None = masks

    def spend(self, total: RingVector) -> None:
        """Add the masks to a client's words in place, and overwrite them.

        Raises:
            LocalProtocolError: They were spent or wiped before (caller): two vectors
                under one mask give away their difference.
        """
        if self._masks is None:
            raise LocalProtocolError("prepared masks cannot be used a second time.")
        np.add(total, self._masks, out=total)
        self.wipe()

    def wipe(self) -> None:
        """Overwrite and drop the masks."""
        if self._masks is not None:
            self._masks.fill(0)
        self._masks = None


def sign(u: int, v: int) -> int:
    """Return the sign with which client u adds the mask that it shares with v."""
    return 1 if u > v else -1


def pair_key(
    agreed: Secret, *, pair: tuple[int, int], binding: Binding, context: bytes
) -> Secret:
    """Derive the mask key of two clients; both sides derive the same one.

    Args:
        agreed: X25519 of one client's private and the other's public mask key.
        pair: The two roster indices, in any order.
        binding: Round and key list.
        context: 32 bytes; a different context gives an unrelated key.
    """
    low, high = sorted(pair)
    info = usage.join(
        usage.TAG_PAIR_MASK,
        binding.round_id,
        binding.key_list,
        low.to_bytes(2, "little") + high.to_bytes(2, "little"),
        context,
    )
    return derive(agreed, info)


def self_key(seed: Secret, *, owner: int, binding: Binding, context: bytes) -> Secret:
    """Derive the key of a client's own mask from its seed b_u."""
    info = usage.join(
        usage.TAG_SELF_MASK,
        binding.round_id,
        binding.key_list,
        owner.to_bytes(2, "little"),
        context,
    )
    return derive(seed, info)


def add_masks(
    total: RingVector,
    *,
    me: int,
    own: Secret,
    pairs: Mapping[int, Secret],
    cipher: str = AES_256_CTR,
    threads: int | None = None,
) -> None:
    """Add all masks of client ``me`` in place, in one pass over the words.

    Args:
        total: shape (count,), dtype ``Ring.dtype``.
        me: Roster index of the client.
        own: From ``self_key``.
        pairs: From ``pair_key``, by roster index of the other client.
        cipher: The plan's.
        threads: As in ``streams.add_streams``.
    """
    keys = [(own.expose(), 1)]
    keys += [(key.expose(), sign(me, other)) for other, key in pairs.items()]
    add_streams(total, keys, cipher=cipher, threads=threads)


def remove_all(
    total: RingVector,
    masks: Iterable[tuple[Secret, int]],
    *,
    cipher: str = AES_256_CTR,
    threads: int | None = None,
) -> None:
    """Take masks out of a sum in place, some hundred in one pass over the words.

    Args:
        total: shape (count,), dtype ``Ring.dtype``.
        masks: Key of each mask, and the sign with which the sum holds it: +1 for the
            own mask of a survivor, ``sign(survivor, dropped)`` for a pair's.  May be a
            generator: no more than one batch of keys is alive at a time.
        cipher: The plan's.
        threads: As in ``streams.add_streams``.
    """
    rest = iter(masks)
    while batch := list(islice(rest, _BATCH_KEYS)):
        keys = [(key.expose(), -held) for key, held in batch]
        add_streams(total, keys, cipher=cipher, threads=threads)
