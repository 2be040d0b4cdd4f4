"""What can go wrong here, and whose fault it is.

The tree::

    ParameterError (ValueError)    the caller's settings or arrays cannot be used
    BudgetExceeded                 the release asked for would break its budget
    ParticipationRefused           a client would take part more than was planned
    LedgerError                    a ledger's file cannot be relied on

Nothing here prints a record, a gradient or a draw of the noise.
"""

# ruff: noqa: N818 - the name says what happened; "Error" would add nothing.

from __future__ import annotations


class ParameterError(ValueError):
    """A setting or an array given by the caller cannot be used."""


class BudgetExceeded(Exception):
    """A release was refused before it was recorded, because of its privacy budget.

    Attributes:
        party: whose budget it is.
        epsilon: what the party's releases would have come to.
        budget: what they may come to.
    """

    def __init__(self, party: str, epsilon: float, budget: float) -> None:
        super().__init__(
            f"Releasing this about {party!r} would bring epsilon to {epsilon:.6g}, "
            f"over its budget of {budget:.6g}; stop here or plan fewer releases."
        )
        self.party = party
        self.epsilon = epsilon
        self.budget = budget


class ParticipationRefused(Exception):
    """A client may not take part in a round: too soon, too often, or out of the plan.

    Attributes:
        client: who was refused.
        round: from 0.
    """

    def __init__(self, client: str, round: int, why: str) -> None:
        super().__init__(
            f"{client!r} may not take part in round {round}: {why}; leave it out of "
            "this round, since the noise covers no more than was planned."
        )
        self.client = client
        self.round = round


class LedgerError(Exception):
    """A ledger's file cannot be opened, read or written; release nothing.

    The sentence names the file and says what to do.
    """
