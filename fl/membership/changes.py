"""Who sees which changes of the model: the kept rounds, as they crossed the wire.

Three kinds of view: every client's upload, a sum round by round, and the released model
alone. An upload under a mask or a cipher is read as if it carried none, which is all
that a server can do with one. The table is that of `fl.looks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from attacks import Adversary
from fl.federation import Federation
from fl.looks import BOTH, FILLED, OPENED
from fl.membership.targets import EVERYBODY, INSIDERS, RELEASED
from fl.protection import Protection
from fl.round import Snapshot
from fl.run import RunRecord
from fl.view import mean_without
from secagg.transcript import Upload

Vector = NDArray[np.floating]

SUM = ""  # no client has this name
MASKED, ENCRYPTED = "all masked uploads", "all encrypted uploads"
BOTH_WAYS = "all encrypted, masked uploads"
COHORT, HONEST = "sums of the cohort", "sums of the honest clients"
CHANGES = "changes of the released model"


class Kind(StrEnum):
    """What sort of view it is."""

    UPLOADS = "every client's upload"
    OPENED = "every client's upload, opened with the shared key"
    COHORT = "the sums that the server is due"
    HONEST = "the same less what colluders put in"
    CHANGES = "changes of the released model, less a client's own part"
    RELEASED = "the released model alone"


# Views in which clients stand side by side.
BY_CLIENT = frozenset({Kind.UPLOADS, Kind.OPENED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One kept round as somebody sees it.

    Attributes:
        snapshot: of the round.
        changes: of the released model, (parameters,), by client; or of `SUM`.
        clients: whose updates are in each of them, so how many share it.
    """

    snapshot: Snapshot
    changes: Mapping[str, Vector]
    clients: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What some adversaries see of every run.

    Attributes:
        name: in words, as on the page.
        kind: what sort of view it is.
        adversaries: who sees the same.
        prevented: the rule that proves it worthless, or None.
    """

    name: str
    kind: Kind
    adversaries: tuple[Adversary, ...]
    prevented: str | None = None


def sights(protection: Protection, corrupt: int) -> Iterator[Sight]:
    """Yield what is seen under a protection.

    Args:
        protection: that the runs were made under.
        corrupt: how many clients collude with the server.
    """
    chosen, hidden = protection.selective, protection.hides_one_upload
    read = BOTH if protection.shared_key is None else BOTH[:1]
    name = _called(protection)
    yield Sight(name=name, kind=Kind.UPLOADS, adversaries=read, prevented=hidden)
    if protection.shared_key is not None and corrupt:
        part = f", {FILLED}" if chosen is not None and not chosen.is_open else ""
        opened = f"all uploads, {OPENED}{part}"
        yield Sight(name=opened, kind=Kind.OPENED, adversaries=BOTH[1:])
    if (hidden or chosen is not None) and protection.clients_only is None:
        yield Sight(name=COHORT, kind=Kind.COHORT, adversaries=BOTH)
    masked = protection.shared_key is None or chosen is not None
    if hidden and masked and corrupt:
        yield Sight(name=HONEST, kind=Kind.HONEST, adversaries=BOTH[1:])
    yield Sight(name=CHANGES, kind=Kind.CHANGES, adversaries=(Adversary.CLIENT,))
    who = EVERYBODY if protection.clients_only is None else INSIDERS
    yield Sight(name=RELEASED, kind=Kind.RELEASED, adversaries=who)


def seen_in(
    kind: Kind,
    run: RunRecord,
    federation: Federation,
    protection: Protection,
    corrupt: int,
) -> list[Seen]:
    """Return the kept rounds of a run as this kind of view shows them.

    A round that holds nobody's update but the viewer's own is none.

    Args:
        kind: any but the released model alone, which is of no round.
        run: with its kept rounds.
        federation: says who the colluders are, and who the curious client.
        protection: that the run was made under.
        corrupt: how many clients collude with the server.
    """
    known = {one.name for one in federation.colluders(corrupt)}
    curious = federation.clients[-1].name
    found = []
    for snapshot in run.snapshots:
        if kind in BY_CLIENT:
            opened = kind is Kind.OPENED
            uploads = (
                snapshot.opened if opened else snapshot.aggregate.transcript.uploads()
            )
            changes = {
                name: _read(upload, snapshot)
                for name, upload in uploads.items()
                if name not in snapshot.absent
            }
            found.append(Seen(snapshot=snapshot, changes=changes))
        elif kind is Kind.CHANGES:
            found += _summed(snapshot, {curious}, protection, released=True)
        else:
            without = known if kind is Kind.HONEST else set()
            found += _summed(snapshot, without, protection, released=False)
    return [one for one in found if one.changes]


def _summed(
    snapshot: Snapshot,
    known: Collection[str],
    protection: Protection,
    *,
    released: bool,
) -> list[Seen]:
    """Return the sum less what is known of it; as `fl.view.of_sum` and `of_release`."""
    others = snapshot.inside.difference(known)
    if not others:
        return []
    central = protection.central
    change: Vector
    if released and central is not None:
        change = snapshot.released.astype(np.float64)
        for own in snapshot.inside.intersection(known):
            change = change - snapshot.updates[own].astype(np.float64) / (
                central.denominator
            )
    else:
        change, _, _ = mean_without(snapshot, known)
    return [Seen(snapshot=snapshot, changes={SUM: change}, clients=len(others))]


def _read(upload: Upload, snapshot: Snapshot) -> Vector:
    """Return what is read of an upload, and the mean where nothing is."""
    vector = upload.vector[: len(snapshot.before)]
    if upload.known is None:
        return vector
    return np.where(upload.known, vector, snapshot.aggregate.mean)


def _called(protection: Protection) -> str:
    if protection.selective is not None:
        if protection.selective.is_open:
            return f"open parts of all uploads, {FILLED}"
        return BOTH_WAYS
    if protection.shared_key is not None:
        return ENCRYPTED
    if protection.hides_one_upload is not None:
        return MASKED
    noised = protection.example is not None or protection.local is not None
    return "all noised uploads" if noised else "all uploads"
