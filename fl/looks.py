"""Who sees what of one round: the table of section 5 of the design, per protection.

Without protection the server reads uploads; masks and ciphertexts leave it the sum,
less what colluders know; a key that all clients share opens everything to a server that
one of them sides with; noise of the server's own stands between it and everybody else.
Clients see the change of the released model, and know what they put into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attacks import Adversary, Observation
from fl.protection import Protection
from fl.round import Snapshot
from fl.view import Scene, of_one_upload, of_opened_upload, of_release, of_sum

PLAIN_UPLOAD, NOISED_UPLOAD = "one upload", "one noised upload"
MASKED_UPLOAD, ENCRYPTED_UPLOAD = "one masked upload", "one encrypted upload"
OPEN_PART, BOTH_WAYS = "the open part of one upload", "one encrypted, masked upload"
OPENED = "opened with the shared key"
OPENED_UPLOAD = f"one upload, {OPENED}"
OPENED_PART = f"the encrypted part of one upload, {OPENED}"
FILLED = "the rest from the sum"
# Whatever the server sees, the server with its colluders sees too.
BOTH = (Adversary.SERVER, Adversary.SERVER_PLUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One way of looking at a round: who, at what, whose records are in it.

    Attributes:
        observation: what is seen.
        names: of the clients whose records are in it.
        adversaries: all who see it.
        prevented: the rule that proves it worthless, or None.
    """

    observation: Observation
    names: Sequence[str]
    adversaries: tuple[Adversary, ...]
    prevented: str | None = None


def looks(scene: Scene, snapshot: Snapshot, turn: int) -> Iterator[Look]:
    """Yield all that anybody sees of one round; the victim is one honest client."""
    known = {one.name for one in scene.colluders()}
    inside = sorted(snapshot.inside)
    honest = [name for name in inside if name not in known]
    if not honest:  # nobody's records but the colluders' own are in it
        return
    victim = honest[turn % len(honest)]
    yield from _uploads(scene, snapshot, victim, colluding=bool(known))
    yield from _sums(scene, snapshot, inside, honest)


def _uploads(
    scene: Scene, snapshot: Snapshot, victim: str, *, colluding: bool
) -> Iterator[Look]:
    """Yield the victim's upload as the server reads it, and as its colluders do."""
    protection = scene.protection
    yield Look(
        observation=of_one_upload(scene, snapshot, victim, view=_called(protection)),
        names=[victim],
        adversaries=BOTH if protection.shared_key is None else BOTH[:1],
        prevented=protection.hides_one_upload,
    )
    if protection.shared_key is not None and colluding:
        yield Look(
            observation=of_opened_upload(
                scene, snapshot, victim, view=_opened(protection)
            ),
            names=[victim],
            adversaries=BOTH[1:],
        )


def _sums(
    scene: Scene, snapshot: Snapshot, inside: Sequence[str], honest: Sequence[str]
) -> Iterator[Look]:
    """Yield the sum as the server, its colluders and the other clients see it."""
    protection = scene.protection
    chosen = protection.selective
    hidden = protection.hides_one_upload is not None
    shown = protection.clients_only is None
    if (hidden or chosen is not None) and shown:
        yield Look(observation=of_sum(scene, snapshot), names=inside, adversaries=BOTH)
    *others, own = inside
    if others:
        yield Look(
            observation=of_release(scene, snapshot, own=own),
            names=others,
            adversaries=(Adversary.CLIENT,),
        )
    # A key that opens whole uploads makes what is left of a sum of no account.
    masked = protection.shared_key is None or chosen is not None
    if hidden and masked and len(honest) < len(inside):
        known = set(inside) - set(honest)
        yield Look(
            observation=of_sum(scene, snapshot, colluders=known),
            names=honest,
            adversaries=BOTH[1:],
        )


def is_in_part(view: str) -> bool:
    """Say whether a view is of an upload of which a part stayed hidden."""
    return view.startswith(OPENED_PART) or view.endswith(FILLED)


def _opened(protection: Protection) -> str:
    chosen = protection.selective
    return OPENED_UPLOAD if chosen is None or chosen.is_open else OPENED_PART


def _called(protection: Protection) -> str:
    if protection.selective is not None:
        return OPEN_PART if protection.selective.is_open else BOTH_WAYS
    if protection.shared_key is not None:
        return ENCRYPTED_UPLOAD
    if protection.hides_one_upload is not None:
        return MASKED_UPLOAD
    noised = protection.example is not None or protection.local is not None
    return NOISED_UPLOAD if noised else PLAIN_UPLOAD
