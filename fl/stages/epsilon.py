"""Stage four: lower bounds on epsilon by canaries, and the drill that tests them.

Two bounds by the same guesses. The one that holds for any mechanism (Steinke et al.) is
what a claim is judged by. Where the claim is that of Gaussian noise a second bound
(Mahloujifar et al.) takes its whole trade-off curve for granted: it comes nearer to the
truth, for information, and says what it assumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import dp
from attacks import GAUSSIAN, EpsilonBound, one_run_audit
from attacks.canary import SHARES
from attacks.tradeoff import Family
from fl import canaries
from fl.canaries import Trial
from fl.drill import drill
from fl.evidence import Evidence
from fl.parallel import each
from fl.protection import Protection
from fl.shelf import Piece, Shelf
from fl.stages.setting import Setting


def run(setting: Setting, evidence: Evidence) -> None:
    """Audit every protection that claims an epsilon; then run the drill."""
    config = setting.config
    noised = [one for one in setting.protections if one.unit is not None]
    if not noised:
        return
    trials = [
        Trial(
            protection=protection,
            federation=repeat.federations[protection.name],
            config=config,
            seed=repeat.seed,
        )
        for protection in noised
        for repeat in evidence.repeats
    ]
    task = setting.progress.task("canaries", len(trials) + 1)
    guessed: dict[str, list[canaries.Guessed]] = {one.name: [] for one in noised}
    jobs = [_Job(trial=trial, shelf=setting.shelf) for trial in trials]
    for trial, result in zip(trials, each(_play, jobs, count=len(jobs)), strict=True):
        guessed[trial.protection.name].append(result)
        task.advance(trial.protection.name)
    # Runs on disjoint canaries are one run of a mechanism with the same epsilon.
    confidence = 1 - 0.05 / len(noised)
    bounds = {
        name: _bound(results, config.privacy.delta, confidence)
        for name, results in guessed.items()
    }
    gaussian = {
        one.name: _bound(
            guessed[one.name], config.privacy.delta, confidence, family=GAUSSIAN
        )
        for one in noised
        if is_gaussian(one)
    }
    evidence.drill = drill(config, canaries.parameters(trials[0]))
    evidence.bounds, evidence.gaussian = bounds, gaussian
    task.advance("drill")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One trial, and where what comes of it is kept."""

    trial: Trial
    shelf: Shelf | None


def _play(job: _Job) -> canaries.Guessed:
    """Play a trial, or take what an earlier sitting made of it."""
    trial, shelf = job.trial, job.shelf
    name = f"canaries-{trial.protection.name}-seed{trial.seed}"
    kept = None if shelf is None else shelf.get(name)
    if kept is not None:
        return canaries.Guessed(
            scores=kept.arrays["scores"], included=kept.arrays["included"]
        )
    found = canaries.play(trial)
    if shelf is not None:
        arrays = {"scores": found.scores, "included": found.included}
        shelf.put(name, Piece(fields={}, arrays=arrays))
    return found


def _bound(
    results: Sequence[canaries.Guessed],
    delta: float,
    confidence: float,
    *,
    family: Family | None = None,
) -> EpsilonBound:
    """Bound epsilon by all plays together, by the shares that guess any canary."""
    scores = np.concatenate([one.scores for one in results])
    return one_run_audit(
        scores,
        np.concatenate([one.included for one in results]),
        delta=delta,
        confidence=confidence,
        shares=[one for one in SHARES if round(one * len(scores)) >= 2],
        family=family,
    )


def is_gaussian(protection: Protection) -> bool:
    """Say whether a mechanism is claimed to tell as little as one Gaussian would.

    With coins for who or what takes part the trade-off is another one; for Skellam
    noise none is known.
    """
    central, example = protection.central, protection.example
    if isinstance(central, dp.GaussianSum | dp.AdaptiveSum):
        return central.sampling_rate == 1
    if protection.shares is not None:
        shares = protection.shares
        return shares.rate == 1 and shares.mechanism == "discrete-gaussian"
    if example is not None:
        return example.settings.sampling_rate == 1
    return central is not None or protection.local is not None
