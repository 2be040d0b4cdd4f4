"""What one piece of a round's memory takes on this machine, measured now.

The pieces of `secagg.footprint`, as `tracemalloc` sees them, which numpy reports to as
well: objects by decoding the messages that hold them, the peaks along the vector in a
round of three real clients.  Beyond a quarter of a million values, a peak is taken to
grow as it does from there to twice as many.
"""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

import secagg
from secagg.boxes import Box, HeldShares, Route, ShareKind, close_box, open_box
from secagg.dealing import SealedShares
from secagg.encode import layout
from secagg.footprint import Piece
from secagg.invite import Invite, Limits, Step
from secagg.keylist import KeyList, PublicKeys
from secagg.keys import AgreementKey, Secret
from secagg.messages import decode, step_of
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.shamir import Share, deal

_ID: Final = bytes(range(32))
_MANY: Final = 512  # pieces that are held to find the size of one
_LONG: Final = 1 << 18
_CLIENTS: Final = 3


def measure_memory(plan: secagg.Plan, *, length: int) -> dict[Piece, float]:
    """Return the bytes of each piece.

    Args:
        plan: Its ring is that of the vectors, but for the bits that three clients
            cannot fill.
        length: Values in a vector.
    """
    sizes = {piece: _held_bytes(make) / _MANY for piece, make in _makers().items()}
    # A table entry is a reference in a set that is at least a third full.
    sets = _held_bytes(lambda: [frozenset(range(48)) for _ in range(_MANY)])
    sizes[Piece.NEIGHBOUR] = sets / (48 * _MANY)
    if length <= _LONG:
        peaks, words = _peaks(plan, length)
        return sizes | {piece: peak / words for piece, peak in peaks.items()}
    low, few = _peaks(plan, _LONG)
    high, many = _peaks(plan, 2 * _LONG)
    return sizes | {piece: (high[piece] - low[piece]) / (many - few) for piece in low}


def _held_bytes(make: Callable[[], object]) -> int:
    """Return what stays allocated of what a call made."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = make()
        after, _ = tracemalloc.get_traced_memory()
        del kept
        return after - before
    finally:
        tracemalloc.stop()


def _makers() -> dict[Piece, Callable[[], object]]:
    """Return for each kind of object what makes ``_MANY`` of them, as a peer would."""
    limits = Limits(_MANY + 1)
    names = tuple(f"member-{i:06d}" for i in range(_MANY))  # of nobody else
    invite = Invite(_ID, secagg.plan(_MANY, 1, 0, graph="complete"), names, 1).encode()
    keys = KeyList(
        _ID,
        tuple(
            PublicKeys(
                i, AgreementKey.generate().public, AgreementKey.generate().public
            )
            for i in range(_MANY)
        ),
    ).encode()
    shares = HeldShares(*next(iter(deal([Secret(_ID)] * 2, threshold=1, holders=[3]))))
    box = close_box(Secret(_ID), Route(_ID, 1, 2), shares)
    boxes = SealedShares(_ID, 0, _ID, _numbered(box)).encode()
    request = UnmaskRequest(_ID, 0, frozenset(range(_MANY))).encode()
    revealed = UnmaskShares(
        _ID,
        0,
        tuple(
            RevealedShare(i + 1, ShareKind.SELF_MASK, shares.self_mask.value)
            for i in range(_MANY)
        ),
    ).encode()
    return {
        Piece.NAME: lambda: decode(invite, limits),
        Piece.KEYS: lambda: decode(keys, limits),
        Piece.BOX: lambda: dict(_boxes(boxes, limits)),
        Piece.HELD: lambda: [_opened(box) for _ in range(_MANY)],
        Piece.SURVIVOR: lambda: _survivors(request, limits, names),
        Piece.SHARE: lambda: [Share(3, one) for one in _revealed(revealed, limits)],
    }


def _numbered(box: Box) -> tuple[tuple[int, Box], ...]:
    return tuple((i + 1, box) for i in range(_MANY))


def _boxes(data: bytes, limits: Limits) -> tuple[tuple[int, Box], ...]:
    message = decode(data, limits)
    assert isinstance(message, SealedShares)
    return message.boxes


def _opened(box: Box) -> tuple[HeldShares, Secret, Secret]:
    agreed, other = Secret(_ID), Secret(_ID)
    return open_box(agreed, Route(_ID, 1, 2), box), agreed, other


def _survivors(
    data: bytes, limits: Limits, names: tuple[str, ...]
) -> tuple[frozenset[int], frozenset[str]]:
    message = decode(data, limits)
    assert isinstance(message, UnmaskRequest)
    return message.survivors, frozenset(names[i] for i in message.survivors)


def _revealed(data: bytes, limits: Limits) -> list[bytes]:
    message = decode(data, limits)
    assert isinstance(message, UnmaskShares)
    return [one.value for one in message.shares]


def _peaks(plan: secagg.Plan, length: int) -> tuple[dict[Piece, float], int]:
    """Play a round of three clients; return the peaks along the vector, and the words.

    The second client's upload counts: from then on there is a sum to add to.
    """
    small = secagg.plan(_CLIENTS, 1, 0, encoder=_as_wide(plan), cipher=plan.cipher)
    names = [f"client-{i}" for i in range(_CLIENTS)]
    policy = secagg.Policy(min_clients=_CLIENTS, min_threshold=_CLIENTS)
    context = secagg.context(b"estimate")
    vector = np.zeros(length, dtype=np.float32)
    clients = {name: secagg.Client(small, policy, me=name) for name in names}
    server = secagg.Server(small, names, session=b"estimate", length=length)
    peaks: dict[Piece, float] = {}
    tracemalloc.start()
    try:
        requests = deque(server.start())
        while requests:
            name, request = requests.popleft()
            uploads = step_of(request) is Step.MASKED_INPUT
            before = _start_peak()
            if uploads:
                clients[name].offer(vector, context=context)
            answers = clients[name].receive(request)
            if uploads:
                peaks[Piece.UPLOAD_WORD] = _peak_above(before)
            before = _start_peak()
            for answer in answers:
                requests.extend(server.receive(name, answer))
                received = len(answer) if uploads else 0
            peaks[Piece.SUM_WORD if uploads else Piece.OPEN_WORD] = (
                _peak_above(before) + received
            )
            del answers, answer
    finally:
        tracemalloc.stop()
    words = layout(small.encoder, clients=_CLIENTS, length=length).words
    return peaks, words


def _as_wide(plan: secagg.Plan) -> secagg.Encoder:
    """Return an encoder that gives three clients the ring of the plan's, if it can."""
    encoder = plan.encoder
    spare = encoder.ring_bits(plan.clients) - encoder.value_bits
    weight = min(max(1, (1 << spare) // _CLIENTS), (1 << 32) - 1)
    return replace(encoder, weight_max=weight)


def _start_peak() -> int:
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def _peak_above(before: int) -> float:
    return float(max(0, tracemalloc.get_traced_memory()[1] - before))
