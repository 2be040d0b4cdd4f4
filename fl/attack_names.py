"""The inversion attacks by the names that `--attack` takes; a new one is one line here.

Each constructor gets the iterations of gradient matching and uses them if it searches.
A batch that SPEAR cannot split takes all of its draws, on every victim.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping

from attacks import (
    APRIL,
    DAGER,
    DLG,
    RGAP,
    CocktailParty,
    CosineTV,
    GradInversion,
    InversionAttack,
    LinearInversion,
    LocalSteps,
    Modern,
    Spear,
    TokenMatching,
)
from fl.errors import ConfigError

SPEAR_DRAWS = 2**9

ATTACKS: Mapping[str, Callable[[int], InversionAttack]] = {
    "linear": lambda _: LinearInversion(),
    "spear": lambda steps: Spear(draws=SPEAR_DRAWS * steps),
    "cocktail": lambda _: CocktailParty(),
    "r-gap": lambda _: RGAP(),
    "april": lambda _: APRIL(),
    "dager": lambda _: DAGER(),
    # A step of DLG is a search along a line: it costs several of the others.
    "dlg": lambda steps: DLG(iterations=max(1, steps // 4), restarts=1),
    "cosine": lambda steps: CosineTV(iterations=steps, restarts=1),
    "modern": lambda steps: Modern(iterations=steps, restarts=1),
    "gradinversion": lambda steps: GradInversion(iterations=steps, restarts=2),
    "local-steps": lambda steps: LocalSteps(iterations=steps, restarts=2),
    "token-matching": lambda steps: TokenMatching(iterations=steps, restarts=2),
}
# What an update is attacked with where no attack is named: the exact ones first.
USUAL = ("linear", "spear", "cocktail", "r-gap", "april", "dlg", "cosine", "modern")
USUAL_TOKENS = ("dager",)


def attack_named(name: str, iterations: int) -> InversionAttack:
    """Return the attack of this name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    check_named(name, ATTACKS)
    return ATTACKS[name](iterations)


def check_named(name: str, known: Collection[str]) -> None:
    """Raise ConfigError unless there is an attack of this name; name the nearest."""
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"use {', '.join(known)}."
        raise ConfigError(f"--attack {name}: there is no such attack; {cure}")
