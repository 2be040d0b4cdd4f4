"""`blindsum dp`: plan noise for a budget, choose a budget, read what was spent."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import dp
from fl.cli_choose import CHOOSE_EXAMPLES, dp_choose
from fl.errors import ConfigError
from fl.status import GATE_FAILED

dp_app = typer.Typer(
    help="Plan the noise of differential privacy; read what was spent of a budget."
)
dp_app.command("choose", epilog=CHOOSE_EXAMPLES)(dp_choose)


class Unit(StrEnum):
    """What one unit of privacy is."""

    example = "example"
    subject = "subject"
    client = "client"


PLAN_EXAMPLES = """
Examples:

  blindsum dp plan --epsilon 3 --rounds 200 --sampling 0.1

  blindsum dp plan --noise 1.1 --rounds 200 --sampling 0.1

  blindsum dp plan --epsilon 8 --rounds 20 --steps 5 --unit example
"""


@dp_app.command("plan", epilog=PLAN_EXAMPLES)
def dp_plan(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that release something.")],
    epsilon: Annotated[
        float | None, typer.Option(help="Find the least noise that keeps this.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="Find the epsilon of this multiplier: deviation over clip."),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="Chance that the bound fails; below 1 / units.")
    ] = 1e-5,
    sampling: Annotated[
        float,
        typer.Option(help="Each unit's own chance to be in a release (Poisson)."),
    ] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Releases in each round.")] = 1,
    unit: Annotated[Unit, typer.Option(help="Whom one unit stands for.")] = Unit.client,
) -> None:
    """Say how much noise an epsilon takes, or which epsilon a noise gives.

    The noise is Gaussian, on a sum of contributions clipped to an L2 norm. The bound is
    over all rounds together.
    """
    if (epsilon is None) == (noise is None):
        raise ConfigError(
            "dp plan takes either --epsilon, to find the noise, or --noise, to find "
            "the epsilon."
        )
    count = rounds * steps
    if epsilon is not None:
        noise = dp.noise_multiplier_for(epsilon, delta, sampling, count)
    assert noise is not None
    for line in _planned(noise, delta, sampling, count, unit.value):
        print(line)


LEDGER_EXAMPLES = """
Examples:

  blindsum dp ledger runs/latest/ledger.db

  blindsum dp ledger ledger.db --epsilon 4
"""


@dp_app.command("ledger", epilog=LEDGER_EXAMPLES)
def dp_ledger(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A run's ledger.db, or a shared one.")
    ],
    epsilon: Annotated[
        float | None,
        typer.Option(help="Judge by this budget instead of the books' own."),
    ] = None,
) -> None:
    """Say what each party has spent of its budget, by two accountants.

    Exit status 3: somebody has spent more than the budget.
    """
    found = dp.accounts(file)
    budgets = [one.budget.epsilon if epsilon is None else epsilon for one in found]
    if any(not budget > 0 for budget in budgets):
        raise ConfigError(f"--epsilon {epsilon} must be positive.")
    for book in dict.fromkeys(one.book for one in found):
        own = [it for it in zip(found, budgets, strict=True) if it[0].book == book]
        Console().print(_table(own))
    if not found:
        print(f"{file}: nothing was spent.")
        return
    print(
        f"Epsilon (PLD) is an upper bound by {dp.ACCOUNTANT}, over all releases of a "
        f"book, under its relation; RDP is usually looser and stands beside it as a "
        "check. Skellam noise in shares has RDP only. What was reserved and never "
        "committed counts as spent."
    )
    over = [
        f"{one.party} ({one.book})"
        for one, budget in zip(found, budgets, strict=True)
        if one.epsilon > budget
    ]
    if over:
        print(f"Over the budget: {', '.join(over)}.")
        raise typer.Exit(GATE_FAILED)


def _planned(
    noise: float, delta: float, sampling: float, count: int, unit: str
) -> Iterator[str]:
    event = dp.sampled_gaussian(noise, sampling)
    bound = dp.epsilon(event, count, delta)
    check = dp.epsilon(event, count, delta, accountant="rdp")
    sampled = (
        f"each {unit} by a coin of its own at rate {sampling!r} (Poisson)"
        if sampling < 1
        else f"every {unit} is in every release"
    )
    yield f"unit:              one {unit}, under {dp.RELATION!r}"
    yield f"releases:          {count}; {sampled}"
    yield f"noise multiplier:  {noise!r} (deviation of the noise over the clip norm)"
    yield f"epsilon, by PLD:   at most {dp.round_up(bound, 4)} at delta {delta!r}"
    yield f"epsilon, by RDP:   {dp.round_up(check, 4)} (usually looser, a cross-check)"
    yield f"accountant:        {dp.ACCOUNTANT}"


def _table(rows: list[tuple[dp.PartyAccount, float]]) -> Table:
    """Lay out one book: what each party has spent, and what is left."""
    first, budget = rows[0]
    table = Table(
        title=f"{first.book}: for one {first.unit} ({first.relation}), epsilon "
        f"{budget:g} at delta {first.budget.delta:g}",
        title_justify="left",
    )
    table.add_column("party")
    for name in ("releases", "uncommitted", "epsilon (PLD)", "(RDP)", "left"):
        table.add_column(name, justify="right")
    for one, most in rows:
        table.add_row(
            one.party,
            str(one.releases),
            str(one.uncommitted),
            dp.round_up(one.epsilon, 4),
            dp.round_up(one.epsilon_rdp, 4),
            f"{most - one.epsilon:.4f}",
        )
    return table
