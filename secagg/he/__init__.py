"""Homomorphic encryption: a server adds up vectors that it cannot read, in one step.

``EncryptedSum`` is the ``Aggregator``; ``KeyHolder``, ``Encryptor`` and ``Summer`` are
the parties.  **The clients share one secret key**: any client that hands it to the
server, or that sees the others' uploads, reads everybody.  Pairwise masks
(``secagg.PairwiseMask``) have no such key and send less; encryption is for clients that
cannot take part in a round of interaction.

Needs TenSEAL, ``pip install "blindsum[he]"``, which is imported on first use.
"""

from secagg.he.encrypted import EncryptedSum
from secagg.he.inputs import open_upload
from secagg.he.parties import Encryptor, KeyHolder
from secagg.he.seal import MissingTensealError, require_tenseal
from secagg.he.summer import Summer

__all__ = [
    "EncryptedSum",
    "Encryptor",
    "KeyHolder",
    "MissingTensealError",
    "Summer",
    "open_upload",
    "require_tenseal",
]
