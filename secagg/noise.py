"""The share of noise that a client adds to its integers, before they are masked.

Distributed differential privacy: nobody sees a sum without the noise of every client in
it, the server included (Kairouz, Liu, Steinke, arXiv:2102.06387, Algorithm 1).  What is
drawn, and what it proves, is the caller's: this module knows only that there are as
many integers as values, and that none is larger than the agreed ring has room for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg.encode import Layout
from secagg.encoder import Encoder
from secagg.errors import ParameterError
from secagg.prg import Rng, draw
from secagg.ring import RingVector

Noise: TypeAlias = Callable[[int, Rng], NDArray[np.int64]]
"""``noise(length, rng)`` returns fresh integers, shape (length,), dtype int64."""


def add_noise(
    encoder: Encoder, where: Layout, words: RingVector, noise: Noise | None, rng: Rng
) -> None:
    """Draw noise once and add it to the rounded values, in place.

    Args:
        encoder: States how large noise may be, or that there is none.
        where: Layout of the round.
        words: From ``encode``, not yet sealed.
        noise: Draws the share of this client; None only if the encoder has no room.
        rng: The client's source of randomness, handed to ``noise``.

    Raises:
        ParameterError: Noise is missing or not expected, or what was drawn has another
            type or length or is out of bounds (caller).
    """
    if noise is None and not encoder.noise_bits:
        return
    if noise is None:
        raise ParameterError(
            f"the plan expects noise of {encoder.noise_bits} bits from every client; "
            "pass noise=... to offer.",
            argument="noise",
        )
    if not encoder.noise_bits:
        raise ParameterError(
            "noise was given, but the plan leaves no room for it; set noise_bits of "
            "its Encoder.",
            argument="noise",
        )
    drawn = noise(where.length, partial(draw, rng))
    if (
        type(drawn) is not np.ndarray  # the bound of a masked array is not that of all
        or drawn.dtype != np.dtype(np.int64)
        or drawn.shape != (where.length,)
    ):
        raise ParameterError(
            f"noise must return {where.length} integers of dtype int64, one for each "
            "value.",
            argument="noise",
        )
    bound = encoder.noise_bound
    if int(drawn.max()) > bound or int(drawn.min()) < -bound:  # not for a log
        raise ParameterError(
            f"noise is beyond the {encoder.noise_bits} bits that the plan has for it; "
            "cut it, or agree on more noise_bits.",
            argument="noise",
        )
    words[: where.length] += where.ring.from_signed(drawn)
