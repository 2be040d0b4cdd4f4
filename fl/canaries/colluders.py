"""What colluding clients know of a noised sum: the noise that they added themselves.

The epsilon of noise in shares counts on the honest clients' shares alone. So the
adversary of the claim, the server with A clients, is played as such: the last A of a
federation are no canaries, and their noise is drawn once more from their own seeds and
taken off the sum. Should a client ever draw in another order, what is taken off is
other noise: the audit then sees less, and accuses nobody the more.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fl.config import Config
from fl.round import context_of
from fl.seeds import bytes_for
from fl.shares import Shares
from secagg import encode
from secagg.prg import KEY_BYTES, draw, simulation_rng


def noise_of(
    names: Iterable[str],
    shares: Shares,
    length: int,
    config: Config,
    *,
    seed: int,
    index: int,
) -> NDArray[np.float64]:
    """Return the sum of these clients' noise in a round, in units of a sum, (length,).

    Args:
        names: of colluders whose upload is in the sum.
        shares: the mechanism.
        length: of an update.
        config: of the round, as in `fl.canaries.release.release_of`.
        seed: of the trial.
        index: of the round.
    """
    round_ = ("canaries", index)
    session = bytes_for(seed, "session", *round_)
    protocol = bytes_for(seed, "protocol", *round_)
    steps = np.zeros(length)
    for name in names:
        rng = simulation_rng(protocol, "secagg round", session.hex(), name)
        draw(rng, KEY_BYTES)  # of the rounding, which comes first
        steps += shares.at(length).noise.draw(length, partial(draw, rng))
    context = context_of(np.zeros(length, dtype=np.float32), config)
    return encode.in_units(shares.encoder(length), steps, context)
