"""A key that nobody holds whole: refused, with the reason, until it can be had.

With a secret key in shares (Mouchet et al., ePrint 2020/304) no client could open an
upload alone.  This package writes no lattice cryptography of its own and would take
it from a library.  Those that were looked at in November 2026:

* OpenFHE has threshold BFV with noise flooding.  Its wheels claim every Python from
  3.10 on, yet hold a library for CPython 3.10 alone (up to 1.6.1), or for 3.12 alone
  (1.2.3): on 3.11 they install, and cannot be imported.  One flipped bit in a
  ciphertext killed the process that parsed it.
* TenSEAL and SEAL have no multi-party keys; Pyfhel wraps SEAL, and has no wheel.
* desilofhe has multi-party CKKS and a wheel for 3.11, but is a closed binary, free
  for non-commercial use only: whether its decryption shares carry the noise that keeps
  a share from telling the key cannot be checked.
"""

from __future__ import annotations

import platform
from typing import NoReturn

from secagg.errors import ParameterError


class ThresholdUnavailableError(ParameterError):
    """A key in shares was asked for, and no library that one can rely on offers it."""


def require_threshold() -> NoReturn:
    """Refuse a secret key that nobody holds whole.

    Raises:
        ThresholdUnavailableError: Always; the sentence says why and the cure (caller).
    """
    raise ThresholdUnavailableError(
        "a key that nobody holds whole needs threshold BFV, and no open library has it "
        f"for Python {_version()} that can be relied on (OpenFHE's wheels are built "
        "for one Python and labelled for all, and a damaged ciphertext kills their "
        "process); use PairwiseMask, which has no key to share.",
        argument="threshold",
    )


def _version() -> str:
    return ".".join(platform.python_version_tuple()[:2])
