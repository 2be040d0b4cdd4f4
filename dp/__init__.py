"""Differential privacy for federated learning: bounds, noise, budgets, statements.

    sigma = noise_multiplier_for(3.0, 1e-5, sampling_rate=0.1, count=200)
    step = sampled_gaussian(sigma, 0.1)
    ledger = Ledger(Budget(epsilon=3.0, delta=1e-5), unit="example")
    ledger.spend("site-3", step, count=200)      # raises before the budget breaks

The step of example-level training is in `dp.sgd`, which needs torch, and Opacus' hooks
in `dp.gradients`; their users import them. `dp.make_private` (Opacus' objects, made
right) is imported when it is first asked for, and torch with it. Every epsilon is under
"add or remove one unit", unless a ledger or claim was given another `dp.relation`, and
an upper bound (PLD) for real-valued noise.
"""

from typing import TYPE_CHECKING

from dp_accounting import DpEvent

from dp.accounting import (
    ACCOUNTANT,
    RELATION,
    composed_epsilon,
    epsilon,
    sampled_gaussian,
)
from dp.adaptive import AdaptiveSum
from dp.banded import Banded
from dp.calibrate import noise_multiplier_for
from dp.central import GaussianSum
from dp.clipping import Clipped, clip_l2
from dp.errors import (
    BudgetExceeded,
    LedgerError,
    ParameterError,
    ParticipationRefused,
)
from dp.ftrl import CorrelatedSum, NoiseStream, Strategy
from dp.ledger import Budget, Entry, Ledger
from dp.ledger_view import PartyAccount, accounts
from dp.noise import gaussian
from dp.participation import Attendance, Participation
from dp.statement import (
    CLIENT_MECHANISM,
    CLIENT_TRUST,
    EXAMPLE_MECHANISM,
    EXAMPLE_TRUST,
    NOT_COVERED,
    Claim,
    round_up,
    statement,
    statement_json,
)
from dp.tree import Tree

if TYPE_CHECKING:
    from dp.private import make_private

__all__ = [
    "ACCOUNTANT",
    "CLIENT_MECHANISM",
    "CLIENT_TRUST",
    "EXAMPLE_MECHANISM",
    "EXAMPLE_TRUST",
    "NOT_COVERED",
    "RELATION",
    "AdaptiveSum",
    "Attendance",
    "Banded",
    "Budget",
    "BudgetExceeded",
    "Claim",
    "Clipped",
    "CorrelatedSum",
    "DpEvent",
    "Entry",
    "GaussianSum",
    "Ledger",
    "LedgerError",
    "NoiseStream",
    "ParameterError",
    "Participation",
    "ParticipationRefused",
    "PartyAccount",
    "Strategy",
    "Tree",
    "accounts",
    "clip_l2",
    "composed_epsilon",
    "epsilon",
    "gaussian",
    "make_private",
    "noise_multiplier_for",
    "round_up",
    "sampled_gaussian",
    "statement",
    "statement_json",
]


def __getattr__(name: str) -> object:
    """Import what needs torch when it is asked for, and not before."""
    if name == "make_private":
        from dp.private import make_private

        return make_private
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
