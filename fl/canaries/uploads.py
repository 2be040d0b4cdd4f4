"""Canaries before a server that reads uploads: are two rounds masked by other words?

A masked upload alone is uniform whatever is beneath. Two of one client under the same
masks are not: their difference is that of the two updates. So a canary that is in sends
its update in one round and the opposite in the next, and is scored by the difference of
its two uploads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks import coins
from fl.canaries.kinds import Dirac, make, name_of
from fl.canaries.release import Played, release_of
from fl.canaries.trial import Guessed, Trial, parameters, seed_of
from fl.seeds import seed_for
from secagg import encode
from secagg.feasibility import MAX_SPARSE_CLIENTS
from secagg.invite import SERVER, Invite, Limits
from secagg.messages import decode
from secagg.ring import RingVector
from secagg.transcript import Transcript
from secagg.upload import MaskedInput

# Of the middle: a difference of nothing at all has a size all the same.
_LEAST = 1e-3


def by_two_uploads(trial: Trial) -> Guessed:
    """Let canary clients in by their coins, in federations of `federation.clients`.

    All upload in both rounds, zeros if they are not in. A score is how far the canary's
    coordinate of the difference is above the middle, over the size of all coordinates:
    words of other masks, which are as large as can be, then score next to nothing, as
    does whoever did not upload twice.

    What two uploads show is claimed to be nothing at all: epsilon 0, delta 0. Where
    there is noise beneath the masks it also keeps to the epsilon of one client's noise,
    a larger one than that of the sum.

    Raises:
        ValueError: the protection sends no masked words.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length, clients = parameters(trial), config.federation.clients
    canaries = make("dirac", clients, length, seed)
    if not isinstance(canaries, Dirac):
        raise AssertionError("Dirac canaries were asked for")
    included = coins(config.attacks.canaries, seed=seed_for(seed, "canary coins"))
    half = protection.clip_norm_l2  # of the difference of two opposite updates
    scores = np.zeros(len(included))
    for start in range(0, len(included), canaries.count):
        own = included[start : start + canaries.count]
        inside = np.flatnonzero(own)
        silent = np.setdiff1d(np.arange(clients), inside)
        updates = canaries.updates(inside, protection.clip_norm_l2)
        played = [
            release_of(
                {name: np.float32(sign) * one for name, one in updates.items()},
                length,
                protection,
                config,
                seed=seed,
                index=2 * start + number,
                absent=[name_of(one) for one in silent.tolist()],
            )
            for number, sign in enumerate((1, -1))
        ]
        for name, apart in _differences(*played).items():
            number = int(name.removeprefix("canary-"))
            if number < len(own):
                size = max(float(np.sqrt(np.mean(apart**2))), _LEAST * half)
                scores[start + number] = (apart[canaries.places[number]] - half) / size
    return Guessed(scores=scores, included=included)


def _differences(one: Played, other: Played) -> dict[str, NDArray[np.float64]]:
    """Return what the uploads of two rounds differ by, in units of the update."""
    if one.sent is None or other.sent is None:
        return {}
    first, invite, context = _masked(one.sent.transcript)
    second, _, _ = _masked(other.sent.transcript)
    encoder = invite.plan.encoder
    where = encode.layout(encoder, clients=invite.plan.clients, length=invite.length)
    found = {}
    for name in first.keys() & second.keys():
        apart = where.ring.center(first[name] - second[name])[: where.length]
        found[name] = encode.in_units(encoder, apart.astype(np.float64), context)
    return found


def _masked(transcript: Transcript) -> tuple[dict[str, RingVector], Invite, bytes]:
    """Return each client's masked words, and what they were encoded under."""
    invite: Invite | None = None
    context, words = b"", dict[str, RingVector]()
    for wire in transcript.messages:
        if wire.sender == SERVER and invite is None:
            message = decode(wire.data, Limits(MAX_SPARSE_CLIENTS))
            invite = message if isinstance(message, Invite) else None
        elif wire.receiver == SERVER and wire.step == MaskedInput.STEP and invite:
            where = encode.layout(
                invite.plan.encoder, clients=invite.plan.clients, length=invite.length
            )
            limits = Limits(invite.plan.clients, where.packed_bytes)
            upload = decode(wire.data, limits)
            if isinstance(upload, MaskedInput):
                context = upload.context
                words[wire.sender] = where.ring.unpack(upload.packed, where.words)
    if invite is None:
        raise ValueError("the protection sends no masked words, so none are repeated.")
    return words, invite, context
