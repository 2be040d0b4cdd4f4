"""``SelectiveSum``: some coordinates encrypted, the others summed in another way.

The idea of selective encryption is FedML-HE's (Jin et al., arXiv:2303.10837): encrypt
those coordinates that tell most, to save bytes and time on the others.  What the
others tell is not proven small.  With ``PlainSum`` for the rest the server reads the
rest of every update, and its weight, and of one that is clipped to a known norm also
the norm of what is hidden; with ``PairwiseMask`` it reads neither part.

The selection is public, and bound into the context of both parts: clients who select
differently get noise or a refusal, never a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.aggregator import (
    NOBODY,
    Aggregate,
    Aggregator,
    PairwiseMask,
    PlainSum,
    check_clients,
)
from secagg.errors import AbortError, ParameterError
from secagg.he.encrypted import EncryptedSum
from secagg.he.selection import Selection
from secagg.invite import Step
from secagg.transcript import Transcript, Upload


@dataclass(frozen=True, slots=True)
class SelectiveTranscript(Transcript):
    """The messages of both parts, and which coordinates are in which."""

    selection: Selection
    hidden: Transcript = field(repr=False)
    rest: Transcript = field(repr=False)
    is_open: bool

    def uploads(self) -> dict[str, Upload]:
        """Read each upload as an unprotected vector; ``known`` says what of it is one.

        Both parts carry the weight; it is legible where the rest is open.
        """
        rest = self.rest.uploads()
        known = ~self.selection.hidden if self.is_open else None
        return {
            name: Upload(
                self.selection.join(upload.vector, rest[name].vector),
                rest[name].weight,
                known,
            )
            for name, upload in self.hidden.uploads().items()
        }


@dataclass(frozen=True, slots=True)
class SelectiveSum:
    """Encrypts the selected coordinates; the rest goes through another aggregator.

    The guarantee is that of ``EncryptedSum`` for the selected coordinates (all clients
    share its key) and that of ``rest`` for the others.

    Attributes:
        selection: Which coordinates are encrypted; public.
        encrypted: Sums them.
        rest: Sums the others.

    Raises:
        ParameterError: ``rest`` is another aggregator (caller).
    """

    name: ClassVar[str] = "he-selective"
    selection: Selection
    encrypted: EncryptedSum
    rest: Aggregator

    def __post_init__(self) -> None:
        # What a server reads of another aggregator's uploads is not known here.
        if not isinstance(self.rest, PlainSum | PairwiseMask):
            raise ParameterError(
                f"rest must be PlainSum or PairwiseMask, not "
                f"{type(self.rest).__name__}.",
                argument="rest",
            )

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the mean of both parts; see ``Aggregator.aggregate``.

        Raises:
            MissingTensealError: TenSEAL is not installed (caller).
        """
        check_clients(vectors, weights, vanish)
        self._check(vectors)
        flags = self.selection.hidden
        hidden, rest = (
            part.aggregate(
                {name: np.asarray(vector)[where] for name, vector in vectors.items()},
                weights,
                context=self.selection.context(context, label),
                session=session,
                vanish=vanish,
                seed=seed,
            )
            for part, where, label in (
                (self.encrypted, flags, b"hidden"),
                (self.rest, ~flags, b"rest"),
            )
        )
        return self._merged(hidden, rest)

    def opened(self, transcript: Transcript) -> dict[str, Upload]:
        """Read what the clients' key opens of every upload, and what is open anyway.

        Returns:
            Each client's vector; ``known`` is not None where the rest is masked.

        Raises:
            LocalProtocolError: As ``EncryptedSum.opened`` (caller).
        """
        if not isinstance(transcript, SelectiveTranscript):
            raise ParameterError(
                "the transcript is of no selective sum; give the one that aggregate() "
                "returned.",
                argument="transcript",
            )
        rest = transcript.rest.uploads()
        selection = transcript.selection
        known = None if transcript.is_open else selection.hidden
        return {
            name: Upload(
                selection.join(upload.vector, rest[name].vector), upload.weight, known
            )
            for name, upload in self.encrypted.opened(transcript.hidden).items()
        }

    def _check(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        shape = np.shape(next(iter(vectors.values())))
        if shape != (self.selection.length,):
            raise ParameterError(
                f"vectors have shape {shape}, but the selection is of "
                f"length={self.selection.length}; select again for this model.",
                argument="vectors",
            )

    def _merged(self, hidden: Aggregate, rest: Aggregate) -> Aggregate:
        if (hidden.survivors, hidden.weight) != (rest.survivors, rest.weight):
            raise AbortError(
                "the two parts of a selective sum hold different clients.",
                step=Step.UNMASK,
                need=len(hidden.survivors),
                have=len(hidden.survivors & rest.survivors),
            )
        transcript = SelectiveTranscript(
            hidden.transcript.messages + rest.transcript.messages,
            self.selection,
            hidden.transcript,
            rest.transcript,
            isinstance(self.rest, PlainSum),
        )
        return Aggregate(
            mean=self.selection.join(hidden.mean, rest.mean),
            weight=hidden.weight,
            survivors=hidden.survivors,
            max_error=max(hidden.max_error, rest.max_error),
            bytes_up=_added(hidden.bytes_up, rest.bytes_up),
            bytes_down=_added(hidden.bytes_down, rest.bytes_down),
            client_cpu_s=hidden.client_cpu_s + rest.client_cpu_s,
            server_cpu_s=hidden.server_cpu_s + rest.server_cpu_s,
            transcript=transcript,
        )


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: count + other[name] for name, count in one.items()}
