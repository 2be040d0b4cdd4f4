"""`blindsum dp choose`: find an epsilon by trial, and say what the search costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

import dp
from fl import choose
from fl.cli_options import ConfigFile, Seed, Sets, Useless
from fl.config import load_config
from fl.data import load
from fl.errors import ConfigError
from fl.status import GATE_FAILED

CHOOSE_EXAMPLES = """
Examples:

  blindsum dp choose --target-accuracy 0.8

  blindsum dp choose hospitals.toml --target-accuracy 0.75 --grid 1,2,4 --public
"""


def dp_choose(
    target_accuracy: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="On held-out records, to reach.")
    ],
    config: ConfigFile = None,
    grid: Annotated[
        str, typer.Option(help="Epsilons to try; fixed without looking at records.")
    ] = "0.5,1,2,4,8",
    protection: Annotated[
        str, typer.Option(help="Whose noise is chosen, as in protections.names.")
    ] = "dp-sgd",
    public: Annotated[
        bool,
        typer.Option("--public", help="The records are public: nothing is spent."),
    ] = False,
    sets: Sets = None,
    seed: Seed = None,
    allow_useless: Useless = False,
) -> None:
    """Find the least epsilon of a grid whose training reaches an accuracy.

    Every trial trains on the records and spends; the cost of choosing is that of the
    whole grid. With privacy.ledger it is reserved there first, or refused. On built-in
    or public records choosing costs nothing.

    Exit status 3: no epsilon of the grid was enough.
    """
    settings = load_config(config, sets or (), seed=seed, allow_useless=allow_useless)
    raw = load(settings.data, settings.seed)
    trials = choose.planned(settings, protection, _grid(grid))
    free = public or raw.builtin
    for line in _cost(trials, free):
        print(line)
    federation = choose.deal(raw, settings, trials)
    run = "" if free else choose.pay(trials, federation, settings)
    last = None
    for last in choose.tried(trials, federation, settings, target_accuracy, run=run):
        print(
            f"trial:             epsilon {last.trial.epsilon:g}: accuracy "
            f"{last.accuracy:.4f} ({last.right} of {last.of} held-out records)"
        )
    choose.settle(trials, settings, run)
    assert last is not None  # a grid is never empty
    if last.accuracy < target_accuracy:
        print(
            f"chosen:            none: no epsilon of the grid reached "
            f"{target_accuracy:g}."
        )
        raise typer.Exit(GATE_FAILED)
    for line in _chosen(trials, last, target_accuracy, free):
        print(line)


def _grid(words: str) -> list[float]:
    try:
        return [float(word) for word in words.split(",") if word.strip()]
    except ValueError:
        raise ConfigError(
            f"--grid {words!r} must be numbers with commas between, such as 1,2,4."
        ) from None


def _cost(trials: tuple[choose.Trial, ...], free: bool) -> Iterator[str]:
    first, delta = trials[0], trials[0].config.privacy.delta
    epsilons = ", ".join(f"{one.epsilon:g}" for one in trials)
    yield f"unit:              one {first.unit}, under {dp.RELATION!r}"
    yield f"grid:              epsilon {epsilons}, each at delta {delta!r}"
    if free:
        yield (
            "cost of choosing:  none, as these records are public; whether the same "
            "epsilon is enough for other records is a guess"
        )
        return
    yield (
        f"cost of choosing:  at most epsilon {dp.round_up(choose.cost(trials), 4)} at "
        f"delta {delta!r}, the whole grid composed: which trial is the last depends "
        "on the records, so those that are not made count, too"
    )
    yield (
        "not in the cost:   accuracies are counted without noise on held-out records, "
        "which nothing here protects"
    )


def _chosen(
    trials: tuple[choose.Trial, ...], last: choose.Tried, target: float, free: bool
) -> Iterator[str]:
    yield (
        f"chosen:            epsilon {last.trial.epsilon:g}, the least of the grid "
        f"that reached {target:g}, in one training each"
    )
    if not free:
        after = dp.round_up(choose.cost(trials, choose.dearest(trials)), 4)
        yield (
            f"with a run of it:  at most epsilon {after} in all, as if the largest of "
            "the grid had been chosen, since the choice depends on the records; the "
            "trial's own model is paid for already, but it is not kept"
        )
