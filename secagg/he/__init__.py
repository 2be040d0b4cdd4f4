"""Homomorphic encryption: a server adds up vectors that it cannot read, in one step.

``EncryptedSum`` is the ``Aggregator`` he-bfv (shared key), and ``CompactSum`` is
he-compact (shared key), with smaller uploads; ``SelectiveSum`` encrypts some
coordinates and leaves the rest to another aggregator.  ``KeyHolder``, ``Encryptor`` and
``EncryptedSummer`` are the parties, and a ``Channel`` is what lets client and server
know each other's messages.  **The clients share one secret key**: any client that hands
it to the server, or that sees the others' uploads, reads everybody.  Pairwise masks
(``secagg.PairwiseMask``) have no such key and send less; encryption is for clients that
cannot take part in a round of interaction.  ``require_threshold`` says why no key is in
shares.

Needs TenSEAL, ``pip install "blindsum[he]"``, which is imported on first use.
"""

from secagg.he.channel import Channel
from secagg.he.compact import CompactSummer
from secagg.he.encrypted import CompactSum, EncryptedSum
from secagg.he.encryptors import CompactEncryptor, Encryptor
from secagg.he.inputs import open_upload
from secagg.he.parties import KeyHolder
from secagg.he.seal import (
    MissingTensealError,
    UnsupportedPlatformError,
    require_compact,
    require_tenseal,
)
from secagg.he.selection import Selection
from secagg.he.selective import SelectiveSum
from secagg.he.summer import EncryptedSummer
from secagg.he.threshold import ThresholdUnavailableError, require_threshold

__all__ = [
    "Channel",
    "CompactEncryptor",
    "CompactSum",
    "CompactSummer",
    "EncryptedSum",
    "EncryptedSummer",
    "Encryptor",
    "KeyHolder",
    "MissingTensealError",
    "Selection",
    "SelectiveSum",
    "ThresholdUnavailableError",
    "UnsupportedPlatformError",
    "open_upload",
    "require_compact",
    "require_tenseal",
    "require_threshold",
]
