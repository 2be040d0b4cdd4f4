"""What a round asks of a transport, and the transport that does nothing wrong.

A host framework wraps its own in the two methods; ``contract`` checks it.  This module
injects no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Transport(Protocol):
    """What is asked of a host's transport: send bytes, get bytes."""

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """Send one message; the server's name is ``"server"``."""

    def receive(self, receiver: str) -> Sequence[tuple[str, bytes]]:
        """Return (sender, message) for all that has arrived since the last call."""


class Memory:
    """The transport that does nothing wrong."""

    def __init__(self) -> None:
        self._boxes: dict[str, list[tuple[str, bytes]]] = {}

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """Put the message into the receiver's box."""
        self._boxes.setdefault(receiver, []).append((sender, data))

    def receive(self, receiver: str) -> Sequence[tuple[str, bytes]]:
        """Empty the receiver's box."""
        return self._boxes.pop(receiver, [])
