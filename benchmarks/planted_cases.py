"""The seven planted bugs as cases: where each is planted, and what must catch it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from attacks import one_run_audit
from benchmarks import planted_bugs as bugs
from benchmarks.planted_bugs import Planted
from fl.canaries import (
    Guessed,
    Trial,
    by_cohort_size,
    by_two_uploads,
    noise_left,
    play,
)
from fl.config import Config, load_config
from fl.data import load
from fl.federation import federate
from fl.protections import build

DELTA = 1e-5
# 85 parameters: enough to be rotated, few enough to be quick.
SETTINGS = (
    "data.source=digits",
    "model.hidden=[1]",
    "training.rounds=1",
    "federation.participation=1.0",
    "federation.dropout=0.01",
    "privacy.delta=1e-5",
    "privacy.epsilon=1.0",
    "privacy.allow_useless=true",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an audit says: what it measured, and whether it accuses."""

    said: str
    accused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A bug, the run that it is planted into, and the audit that has to catch it.

    Attributes:
        name: of the bug.
        protection: by its name.
        sets: settings beside `SETTINGS`.
        audit: what accuses a run, or not.
        plant: the bug, for as long as it is entered.
        lasts: rounds that the noise is sized for, if not all.
    """

    name: str
    protection: str
    sets: tuple[str, ...]
    audit: Callable[[Trial], Found]
    plant: Callable[[], Planted]
    lasts: int | None = None

    def trial(self, seed: int) -> Trial:
        """Return the run of one seed."""
        settings = settings_of(*self.sets)
        noised = settings
        if self.lasts is not None:
            noised = settings_of(*self.sets, f"training.rounds={self.lasts}")
        return trial_of(self.protection, settings, seed, noised=noised)


def by_epsilon(
    game: Callable[[Trial], Guessed],
    *,
    claimed: float | None = None,
    delta: float = DELTA,
) -> Callable[[Trial], Found]:
    """Return the audit that accuses where the lower bound is above what is claimed.

    Args:
        game: gives the scores.
        claimed: epsilon; None for the budget.
        delta: of the claim.
    """

    def audit(trial: Trial) -> Found:
        found = game(trial)
        bound = one_run_audit(found.scores, found.included, delta=delta)
        most = trial.config.privacy.epsilon if claimed is None else claimed
        said = f"epsilon >= {bound.value:.2f} of {most:g}"
        return Found(said=said, accused=bound.value > most)

    return audit


def by_variance(trial: Trial) -> Found:
    """Accuse where there is less noise than all who are in the sum would add."""
    left = noise_left(trial)
    said = f"variance {left.ratio:.3f} of it, p = {left.p_value:.1e}"
    return Found(said=said, accused=left.p_value < 0.05)


TEN = ("federation.clients=10", "federation.corrupt=1", "federation.drop=1")
FORTY = ("federation.clients=40", "federation.corrupt=2", "federation.drop=3")
SIX = ("federation.clients=6", "federation.corrupt=1", "federation.drop=1")
CASES = (
    Case(
        name="noise missing",
        protection="distributed-dp",
        sets=(*TEN, "attacks.canaries=40"),
        audit=by_epsilon(play),
        plant=bugs.no_noise,
    ),
    Case(
        name="noise divided twice by n",
        protection="distributed-dp",
        sets=(*FORTY, "attacks.canaries=200"),
        audit=by_epsilon(play),
        plant=lambda: bugs.divided_twice(40),
    ),
    Case(
        name="no clip",
        protection="central-dp",
        sets=("federation.clients=120", "attacks.canaries=120", "model.hidden=[2]"),
        audit=by_epsilon(play),
        plant=bugs.no_clip,
    ),
    Case(
        name="masks reused",
        protection="secagg",
        sets=(*TEN, "attacks.canaries=40"),
        audit=by_epsilon(by_two_uploads, claimed=0.0, delta=0.0),
        plant=bugs.masks_reused,
    ),
    Case(
        name="private normaliser",
        protection="secagg+central-dp",
        sets=(*SIX, "attacks.canaries=50", "model.hidden=[8]"),
        audit=by_epsilon(by_cohort_size),
        plant=bugs.private_normaliser,
    ),
    Case(
        name="ledger reset",
        protection="central-dp",
        sets=(
            "federation.clients=300",
            "attacks.canaries=300",
            "training.rounds=25",
            "model.hidden=[4]",
        ),
        audit=by_epsilon(play),
        plant=bugs.ledger_reset,
        lasts=1,
    ),
    Case(
        name="one share of the noise left out",
        protection="distributed-dp",
        sets=(*TEN, "training.rounds=2", "model.hidden=[32]"),
        audit=by_variance,
        plant=lambda: bugs.one_share_less(10),
    ),
)


def settings_of(*sets: str) -> Config:
    """Return the settings of one case."""
    return load_config(os.devnull, [*SETTINGS, *sets])


def trial_of(
    name: str, settings: Config, seed: int, *, noised: Config | None = None
) -> Trial:
    """Return a run under a protection, whose noise may be sized for another."""
    data = load(settings.data, 0)
    few = settings.model_copy(
        update={"federation": settings.federation.model_copy(update={"clients": 2})}
    )
    return Trial(
        protection=build(name, noised or settings, settings.federation.clients),
        # Only the sizes of its records matter: canary clients have none of their own.
        federation=federate(data, few, None, seed=seed),
        config=settings,
        seed=seed,
    )


def judge(case: Case, seed: int) -> tuple[Found, Found]:
    """Return what the audit says of a sound run, and of the one with the bug."""
    trial = case.trial(seed)
    sound = case.audit(trial)
    with case.plant():
        return sound, case.audit(trial)
