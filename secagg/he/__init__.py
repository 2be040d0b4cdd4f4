"""Homomorphic encryption: a server adds up vectors that it cannot read, in one step.

``EncryptedSum`` is the ``Aggregator``; ``KeyHolder``, ``Encryptor`` and ``Summer`` are
the parties.  ``SelectiveSum`` encrypts some coordinates and leaves the rest to another.
**The clients share one secret key**: any client that hands it to the server, or that
sees the others' uploads, reads everybody.  Pairwise masks (``secagg.PairwiseMask``)
have no such key and send less; encryption is for clients that cannot take part in a
round of interaction.  ``require_threshold`` says why no key is in shares.

Needs TenSEAL, ``pip install "blindsum[he]"``, which is imported on first use.
"""

from secagg.he.encrypted import EncryptedSum
from secagg.he.inputs import open_upload
from secagg.he.parties import Encryptor, KeyHolder
from secagg.he.seal import MissingTensealError, require_tenseal
from secagg.he.selection import Selection
from secagg.he.selective import SelectiveSum
from secagg.he.summer import Summer
from secagg.he.threshold import ThresholdUnavailableError, require_threshold

__all__ = [
    "EncryptedSum",
    "Encryptor",
    "KeyHolder",
    "MissingTensealError",
    "Selection",
    "SelectiveSum",
    "Summer",
    "ThresholdUnavailableError",
    "open_upload",
    "require_tenseal",
    "require_threshold",
]
