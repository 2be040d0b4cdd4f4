"""What a host's transport owes a round, as a suite that the host runs in its own tests.

The suite sends bytes and gets bytes; it knows nothing of sockets or frameworks.  It
checks what ``Server.receive(peer, data)`` takes on trust (docs/protocol.md, "What the
embedder has to do"): that messages arrive whole and unchanged, with their true sender,
and at nobody else.  Then it plays rounds over the transport, with and without mishaps.

It cannot check that a connection is authenticated and encrypted against outsiders.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from secagg.invite import SERVER
from secagg.planning import plan
from secagg.testing.campaign import Report, campaign
from secagg.testing.schedule import Schedule, draw_schedule, every_dropout
from secagg.testing.transport import Transport
from secagg.testing.verdict import End

SIZES: Final = (1, 34, 1000, 65_537, 3_000_000)
"""Bytes per message: the smallest, a header, and beyond the usual limits."""

_CLIENTS: Final = ("client-0", "client-1", "client-2")


def check_transport(
    make: Callable[[], Transport],
    *,
    schedules: int = 50,
    sizes: tuple[int, ...] = SIZES,
) -> Report:
    """Assert that a transport carries rounds of secure aggregation.

    Guarantee: on return, every message of each size arrived once, whole, under its
    sender's name and at its receiver alone; a round without mishaps gave the exact sum;
    and rounds in which every client drops out at every step, and ``schedules`` with
    mixed mishaps, gave an exact sum or a clean abort.

    Args:
        make: Returns a fresh transport that carries messages between ``"server"`` and
            ``"client-0"``, ``"client-1"``, ...  Its ``receive`` waits until what was
            sent has had time to arrive.
        schedules: How many rounds with mixed mishaps to play.
        sizes: Sizes of the messages sent one by one; name fewer if your frames end
            earlier, and no smaller ones than your model needs.

    Returns:
        How the rounds ended, and which mishaps they met.

    Raises:
        AssertionError: The transport broke a promise; the sentence says which.
    """
    for size in sizes:
        _check_delivery(make(), size)
    agreed = plan(clients=4, corrupt=1, drop=1)
    alone = [s for s in every_dropout(agreed.clients) if len(s.mishaps) == 1]
    mixed = [draw_schedule(agreed.clients, seed) for seed in range(schedules)]
    smooth = campaign([(agreed, Schedule())], make=make)
    if not smooth.ends[End.SUM]:
        why = smooth.failures[0] if smooth.failures else "it was aborted"
        raise AssertionError(f"a round without mishaps gives no sum: {why}.")
    report = campaign([(agreed, schedule) for schedule in (*alone, *mixed)], make=make)
    if report.failures:
        raise AssertionError(f"a round ended as none must: {report.failures[0]}.")
    return report


def _check_delivery(transport: Transport, size: int) -> None:
    """Send one message each way to every client, all at once."""
    message = random.Random(size).randbytes(size)
    sent: dict[str, list[tuple[str, bytes]]] = {SERVER: []}
    for number, name in enumerate(_CLIENTS):
        up, down = (bytes([number + way]) + message[1:] for way in (10, 20))
        transport.send(name, SERVER, up)
        transport.send(SERVER, name, down)
        sent[SERVER].append((name, up))
        sent[name] = [(SERVER, down)]
    for receiver, expected in sent.items():
        arrived = sorted(transport.receive(receiver))
        if arrived == sorted(expected):
            continue
        for peer, data in arrived:
            if (peer, data) not in expected:
                raise AssertionError(
                    f"{receiver} received {len(data)} bytes from {peer} that {peer} "
                    f"did not send to it as one message of {size} bytes."
                )
        raise AssertionError(
            f"{receiver} received {len(arrived)} messages of {size} bytes, "
            f"{len(expected)} were sent."
        )
    for receiver in sent:
        if transport.receive(receiver):
            raise AssertionError(f"a message to {receiver} arrived twice.")
