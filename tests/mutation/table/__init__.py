"""The table of mutants, by what of ``secagg`` they break."""

from __future__ import annotations

from typing import Final

from tests.mutation.mutant import Mutant
from tests.mutation.table import (
    arithmetic,
    checks,
    encoding,
    encrypted,
    keys,
    memory,
    messages,
    parties,
    plans,
    rounds,
    shares,
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *arithmetic.MUTANTS,
    *keys.MUTANTS,
    *plans.MUTANTS,
    *memory.MUTANTS,
    *messages.MUTANTS,
    *parties.MUTANTS,
    *rounds.MUTANTS,
    *shares.MUTANTS,
    *encoding.MUTANTS,
    *encrypted.MUTANTS,
    *checks.MUTANTS,
)
