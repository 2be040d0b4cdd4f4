"""What a party has to remember beyond a round, as seen from the party.

``Client`` and ``Server`` do no I/O.  Before the bytes of a step leave them they tell a
journal; ``store`` is the journal that keeps what it is told.  This module keeps
nothing.
"""

from __future__ import annotations

from typing import Protocol

from secagg.invite import Step
from secagg.monitor import Release


class Journal(Protocol):
    """Is told of each step before its bytes leave, and may forbid it.

    Attributes:
        remembers: Whether what it is told outlasts the call; if not, ``upload`` is
            given an empty fingerprint, which a ``Store`` behind it would refuse.
    """

    remembers: bool

    def record(self, owner: str, session: bytes, step: Step) -> None:
        """Record that ``owner`` is about to send its bytes of a step of a session.

        Raises:
            AbortError: It has sent bytes of this step or of a later one before.
            StoreError: The step cannot be recorded.
        """

    def upload(
        self, owner: str, session: bytes, context: bytes, fingerprint: bytes
    ) -> None:
        """Check what a client is about to upload; record it and the step.

        Args:
            owner: The client.
            session: Of the round.
            context: What the vector is offered under.
            fingerprint: ``offered.fingerprint`` of the vector and its weight.

        Raises:
            AbortError: It uploaded another vector or weight under this context, or as
                for ``record``.
            StoreError: The step cannot be recorded.
        """

    def release(
        self, owner: str, session: bytes, release: Release, minimum: int
    ) -> None:
        """Check a sum against the owner's earlier ones; record it and the last step.

        Raises:
            AbortError: ``monitor.check_release`` refuses the sum, or as for ``record``.
            StoreError: The release cannot be recorded.
        """


class NoJournal:
    """Remembers nothing and forbids nothing: what a party without a store has."""

    remembers = False

    def record(self, owner: str, session: bytes, step: Step) -> None:
        """Forget it."""

    def upload(
        self, owner: str, session: bytes, context: bytes, fingerprint: bytes
    ) -> None:
        """Forget it."""

    def release(
        self, owner: str, session: bytes, release: Release, minimum: int
    ) -> None:
        """Forget it."""
