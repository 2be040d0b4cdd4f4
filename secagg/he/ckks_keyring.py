"""The keys that one ``ApproximateSum`` made, and which transcript is whose."""

from __future__ import annotations

from typing import Final

from secagg.errors import LocalProtocolError
from secagg.he.ckks_keys import ApproximateKey
from secagg.prg import simulation_rng
from secagg.transcript import Transcript

_UNKNOWN: Final = (
    "the keys of this transcript are not here; call opened() on the very object that "
    "ran the round, in the same process."
)


class KeyRing:
    """The keys that one aggregator made; they stay in its process."""

    def __init__(self) -> None:
        self._own: ApproximateKey | None = None
        self._latest: tuple[bytes, ApproximateKey] | None = None
        self._seeds: dict[int, bytes | None] = {}  # by hash of the transcript

    def key(self, seed: bytes | None) -> ApproximateKey:
        """Return the key of this seed, or the one from real randomness."""
        if seed is None:
            self._own = self._own or ApproximateKey()
            return self._own
        if self._latest is None or self._latest[0] != seed:
            rng = simulation_rng(seed, "approximate sum", "keys")
            self._latest = (seed, ApproximateKey(rng))
        return self._latest[1]

    def remember(self, transcript: Transcript, seed: bytes | None) -> None:
        """Note under which key a transcript was made."""
        self._seeds[hash(transcript)] = seed

    def of(self, transcript: Transcript) -> ApproximateKey:
        """Return the key under which a transcript was made.

        Raises:
            LocalProtocolError: It was made elsewhere (caller).
        """
        if hash(transcript) not in self._seeds:
            raise LocalProtocolError(_UNKNOWN)
        return self.key(self._seeds[hash(transcript)])
