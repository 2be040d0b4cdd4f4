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
OPENED = "opened with the shared key"
OPENED_UPLOAD = f"one upload, {OPENED}"
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
            observation=of_opened_upload(scene, snapshot, victim, view=OPENED_UPLOAD),
            names=[victim],
            adversaries=BOTH[1:],
        )


def _sums(
    scene: Scene, snapshot: Snapshot, inside: Sequence[str], honest: Sequence[str]
) -> Iterator[Look]:
    """Yield the sum as the server, its colluders and the other clients see it."""
    protection = scene.protection
    hidden = protection.hides_one_upload is not None
    if hidden:
        yield Look(observation=of_sum(scene, snapshot), names=inside, adversaries=BOTH)
    *others, own = inside
    if others:
        yield Look(
            observation=of_release(scene, snapshot, own=own),
            names=others,
            adversaries=(Adversary.CLIENT,),
        )
    if hidden and protection.shared_key is None and len(honest) < len(inside):
        known = set(inside) - set(honest)
        yield Look(
            observation=of_sum(scene, snapshot, colluders=known),
            names=honest,
            adversaries=BOTH[1:],
        )


def _called(protection: Protection) -> str:
    if protection.shared_key is not None:
        return ENCRYPTED_UPLOAD
    if protection.hides_one_upload is not None:
        return MASKED_UPLOAD
    noised = protection.example is not None or protection.local is not None
    return NOISED_UPLOAD if noised else PLAIN_UPLOAD
