"""What a CKKS decryption gives, in a type that it does not leave by accident.

CKKS decrypts to the message plus noise of the very ciphertext.  Whoever holds the
ciphertext and learns that noise solves linear equations for the secret key: the scheme
is secure against those who see ciphertexts, and no longer against those who also see
what they decrypt to (IND-CPA-D: Li and Micciancio, EUROCRYPT 2021, ePrint 2020/1533;
tests/secagg/he/test_ckks_key_recovery.py does it).  The server holds every ciphertext.
So the decrypted mean, and whatever follows from it, a model and its accuracy included,
stays among the clients, who have the key anyway.  Rounding the mean, or noise added for
differential privacy, is no proven remedy unless it is chosen for this (ePrint
2022/816); BFV, which is exact, has no such noise to leak.
"""

from __future__ import annotations

from typing import Any, Final, Generic, NoReturn, TypeVar

from secagg.errors import LocalProtocolError

_Held = TypeVar("_Held")
_STAYS: Final = (
    "what CKKS decrypts to is for clients only, for the server could compute the key "
    "from it; use shown_to_clients() where no server and no outsider sees the result."
)


class ClientsOnly(Generic[_Held]):
    """A value that only those may see who hold the secret key.

    It does not print, and refuses to be pickled, copied, compared, hashed, formatted
    into an array, iterated over or tested.  Python cannot stop who means to get at it.
    """

    __slots__ = ("_held",)

    def __init__(self, held: _Held) -> None:
        self._held = held

    def shown_to_clients(self) -> _Held:
        """Return the value, for use at a client; all that follows stays there too."""
        return self._held

    def __repr__(self) -> str:
        return "<value for clients only>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise LocalProtocolError(_STAYS)

    # Equality would tell a guess; numpy, bytes() and torch ask for the others.
    __eq__ = __ne__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __array__ = __bytes__ = __buffer__ = __dlpack__ = _refuse
    __iter__ = __len__ = __getitem__ = __contains__ = _refuse
    __bool__ = __int__ = __float__ = __index__ = _refuse
    __hash__ = _refuse
    __reduce__ = __getstate__ = _refuse
    __copy__ = __deepcopy__ = _refuse
