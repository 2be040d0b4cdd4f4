"""What an audit rests on: complete repetitions, scored attacks, and what is missing.

Filled by `fl.gather`, read by everything that writes the page. Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from attacks import Adversary, EpsilonBound
from fl.drill import Drilled
from fl.federation import Federation
from fl.finding import Finding, Missing
from fl.membership.shadows import Shadows
from fl.outcomes import Outcome, collect
from fl.protection import Protection
from fl.run import RunRecord
from fl.shots import AS_CONFIGURED, WORST_CASE
from fl.utility import Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One repetition: the same seed, split and batches under every protection."""

    seed: int
    runs: dict[str, RunRecord]
    federations: dict[str, Federation]
    baseline: Baseline


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What was gathered; grows stage by stage.

    Attributes:
        repeats: the complete repetitions.
        outcomes: scored inversion attacks.
        rankings: findings of the membership attacks.
        left_out: rows of attacks that were not run, and why.
        limits: what was made smaller for a large model, in sentences.
        shadows: by protection, for the first one of each kind of noise.
        bounds: lower bounds on epsilon by protection, together at 95 %.
        drill: the sound and the faulty run of the drill, if it was held.
        stopped: the stage that Ctrl-C ended, or "".
    """

    repeats: list[Repeat] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    rankings: list[Finding] = field(default_factory=list)
    left_out: list[Finding] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    shadows: dict[str, Shadows] = field(default_factory=dict)
    bounds: dict[str, EpsilonBound] = field(default_factory=dict)
    drill: tuple[Drilled, ...] = ()
    stopped: str = ""

    def findings(self, protections: Sequence[Protection]) -> list[Finding]:
        """Return all findings, and for every empty cell of the page why it is empty."""
        found = collect(self.outcomes) + self.rankings + self.left_out
        seeds = tuple(repeat.seed for repeat in self.repeats)
        return found + [
            missing
            for protection in protections
            for missing in _missing(protection.name, found, seeds, self.stopped)
        ]


def _missing(
    protection: str,
    found: Sequence[Finding],
    seeds: tuple[int, ...],
    stopped: str,
) -> Iterator[Finding]:
    filled = {
        (one.adversary, one.scenario) for one in found if one.protection == protection
    }
    why = (
        f"the audit was stopped by Ctrl-C during {stopped}."
        if stopped
        else "no attack of this run looks at this view."
    )
    for scenario in (AS_CONFIGURED, WORST_CASE):
        for adversary in Adversary:
            if (adversary, scenario) not in filled:
                yield Finding(
                    protection=protection,
                    adversary=adversary,
                    view="-",
                    scenario=scenario,
                    attack="none",
                    measures=(Missing(metric="-", why=why),),
                    seeds=seeds,
                )
