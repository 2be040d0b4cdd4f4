"""One round with canary clients in it: their updates, and what is released."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from fl import privacy
from fl.canaries.kinds import Vectors
from fl.canaries.trial import Trial
from fl.config import Config
from fl.course import admit, open_books
from fl.federation import Client
from fl.protection import Protection
from fl.round import aggregate, draw_vanishing, released
from fl.schedule import open_attendance
from fl.seeds import seed_for
from fl.updates import as_sent
from secagg.aggregator import Aggregate


class Played(NamedTuple):
    """What a round with canaries gives out, and what the server saw of it.

    Attributes:
        change: of the model, as everybody sees it, (parameters,) float32.
        clip_norm_l2: of the next round.
        sent: the sum and its transcript; None if the round was given up.
    """

    change: NDArray[np.float32]
    clip_norm_l2: float
    sent: Aggregate | None


def release_of(
    updates: Vectors,
    length: int,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    absent: Sequence[str] = (),
) -> Played:
    """Return what a round gives out in which just these canary clients take part.

    Args:
        updates: of the canary clients that take part, before they are clipped.
        length: of an update.
        protection: with the noise under audit.
        config: the resolved configuration.
        seed: of the trial.
        index: of the round.
        absent: further clients, who upload zeros.
    """
    name = ("canaries", index)
    before = np.zeros(length, dtype=np.float32)
    clipped = {
        one: as_sent(update, protection, seed=seed_for(seed, "canary", index, one))
        for one, update in updates.items()
    }
    everybody = [stub(one) for one in (*updates, *absent)]
    try:
        sent = aggregate(
            clipped,
            dict.fromkeys(clipped, 1),
            before,
            protection,
            config,
            vanish=draw_vanishing(everybody, config, seed=seed, index=index),
            seed=seed,
            name=name,
            absent=absent,
        )
    except secagg.AbortError:  # nobody is in the sum, or too few finished
        return Played(*released(protection, None, length, seed=seed, name=name), None)
    return Played(sent.released, sent.clip_norm_l2, sent.aggregate)


def paid_rounds(trial: Trial, length: int) -> Iterator[int]:
    """Yield the rounds that a ledger of the configured budget lets through, paid for.

    Noise that is sized for fewer rounds than are played is thus no violation, unless
    the ledger forgets.
    """
    protection, config = trial.protection, trial.config
    books, attendance = open_books(protection, config), open_attendance(protection)
    event, rounds = protection.event(length), config.training.rounds
    if books is not None and event is not None and attendance is None:
        # Asked for once: a budget that lasts for all rounds lasts for each.
        if not books.would_exceed(privacy.EVERYBODY, event, rounds):
            yield from range(rounds)
            return
    for index in range(rounds):
        try:
            admit(
                books,
                (),
                protection,
                index=index,
                length=length,
                attendance=attendance,
            )
        except dp.BudgetExceeded:
            return
        yield index


def stub(name: str) -> Client:
    """Return a client of this name that has no records."""
    nothing = torch.zeros(0)
    return Client(
        name=name, x=nothing, y=nothing.long(), ids=np.zeros(0, dtype=np.int64)
    )
