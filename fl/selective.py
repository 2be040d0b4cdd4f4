"""Selective encryption before it is known which coordinates it encrypts.

That depends on the model, which a configuration alone does not fix; `fl.sensitivity`
chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import secagg
from secagg.he import EncryptedSum, Selection, SelectiveSum


@dataclass(frozen=True, slots=True, kw_only=True)
class Selective:
    """What becomes of the two parts of an update; can be sent to a worker.

    Attributes:
        fraction: of the coordinates that is encrypted.
        encrypted: sums those, under the clients' one key.
        rest: sums the others, by the size of the cohort.
        is_open: whether the server reads the others.
    """

    fraction: float
    encrypted: EncryptedSum
    rest: Callable[[int], secagg.Aggregator]
    is_open: bool

    def aggregator(self, selection: Selection, cohort: int) -> secagg.Aggregator:
        """Return the sum for a cohort of this size."""
        return SelectiveSum(selection, self.encrypted, self.rest(cohort))


def not_chosen(cohort: int) -> NoReturn:
    """Refuse to sum before it is known what to encrypt.

    Raises:
        secagg.ParameterError: always (caller).
    """
    raise secagg.ParameterError(
        "nobody has chosen which coordinates to encrypt; call fl.sensitivity.fitted().",
        argument="selection",
    )
