"""What can go wrong in secure aggregation, and whose fault it is.

The class of an error says who has to act; the sentence says what to do::

    SecaggError
    +-- ParameterError        the caller passed a bad value          .argument
    +-- LocalProtocolError    the caller acted out of order
    +-- RemoteProtocolError   a peer broke the protocol              .peer .step
    |   +-- DecodeError           its bytes are not a canonical message
    |   +-- AuthenticationError   its signature, tag or share does not verify
    +-- AbortError            no sum came out, nobody to blame       .step .need .have
    |   +-- IntegrityError        the unmasked words are not a valid sum
    +-- StoreError            the store's file cannot be used        .path

No error carries a secret: messages name public values only, and an error that is kept
is kept ``without_frames``.  This module does not log, and nothing in the package turns
one of these errors into a return value.
"""

from __future__ import annotations

from typing import TypeVar


class SecaggError(Exception):
    """Base of every error that this package raises on purpose."""


class ParameterError(SecaggError, ValueError):
    """The caller passed a value outside its contract; nothing was sent."""

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class LocalProtocolError(SecaggError):
    """The caller used an object out of order."""


class RemoteProtocolError(SecaggError):
    """A peer broke the protocol; ``peer`` and ``step`` say who and where."""

    def __init__(self, message: str, *, peer: str = "", step: str = "") -> None:
        super().__init__(message)
        self.peer = peer
        self.step = step


class DecodeError(RemoteProtocolError):
    """Received bytes are not the canonical encoding of an allowed message."""


class AuthenticationError(RemoteProtocolError):
    """A signature, an authentication tag or a share commitment does not verify."""


class AbortError(SecaggError):
    """The round ended without a sum, because too few clients were left."""

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        need: int | None = None,
        have: int | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.need = need
        self.have = have


class IntegrityError(AbortError):
    """The unmasked vector is not the encoding of a sum, so none is released."""


class StoreError(SecaggError):
    """What a round must remember cannot be written or read; the round ends here."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


_Kept = TypeVar("_Kept", bound=SecaggError)


def without_frames(error: _Kept) -> _Kept:
    """Drop the stack frames of an error and of its causes, and return the error.

    Frames keep their local variables alive: keys, shares, whole messages.  An error
    that is stored would hold them for as long as it is stored itself.
    """
    link: BaseException | None = error
    while link is not None:
        # The context may be an error of the caller's own: unlink it, do not touch it.
        link.__traceback__ = link.__context__ = None
        link = link.__cause__
    return error
