"""The black-box attacks on one model at a time, and who is shown what they found.

Scores are made without membership bits; these only enter the findings' groups. The
likelihood-ratio attack rests on shadow federations (`fl.shadows`) shared by all
targets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from attacks import Adversary, lira, logit_scaled_confidence, loss_threshold
from fl.config import Config
from fl.finding import Finding, Measure, Missing, Ranking
from fl.membership import targets
from fl.membership.shadows import Shadows
from fl.membership.targets import OUTSIDE, RELEASED, Runs, Target, View
from fl.protection import Protection
from fl.shots import AS_CONFIGURED, WORST_CASE

LOSS, LIRA = "loss threshold", "LiRA"
RATES = (0.1, 0.01)


def findings(
    runs: Runs,
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack every model that each adversary sees under ``protection``."""
    seeds = tuple(run.seed for run, _ in runs)
    attack = _Attacker(protection.name, shadows, config, seeds)
    released = targets.released(runs, protection)
    rows = attack.rank(LOSS, released) + attack.rank(LIRA, released)
    if protection.clients_only is not None:
        why = Missing(metric="AUC", why=protection.clients_only)
        rows += [_kept_back(protection.name, one, why, seeds) for one in OUTSIDE]
    for view in targets.inside(runs, protection, config):
        rows += attack.rank(LOSS, view)
    rows.append(_no_worst_case(protection.name, seeds))
    return rows


@dataclass(frozen=True, slots=True)
class _Attacker:
    protection: str
    shadows: Shadows | Missing
    config: Config
    seeds: tuple[int, ...]

    def rank(self, name: str, view: View) -> list[Finding]:
        """Score the targets once, for all adversaries who see them."""
        began = time.perf_counter()
        found = self._lira if name == LIRA else self._loss
        measures = found(view.targets)
        seconds = time.perf_counter() - began
        if name == LIRA and isinstance(self.shadows, Shadows):
            # One set of shadows serves all protections; each attack would need it.
            seconds += self.shadows.seconds
        return [
            Finding(
                protection=self.protection,
                adversary=adversary,
                view=view.name,
                scenario=AS_CONFIGURED,
                attack=name,
                measures=measures,
                seeds=self.seeds,
                seconds=seconds,
            )
            for adversary in view.adversaries
        ]

    def _loss(self, attacked: Sequence[Target]) -> tuple[Measure, ...]:
        groups = []
        for target in attacked:
            logits = torch.from_numpy(target.logits(self.config))
            labels = torch.from_numpy(target.federation.dataset.labels)
            losses = cross_entropy(logits, labels, reduction="none").numpy()
            groups.append(target.group(loss_threshold(losses)))
        return (Ranking(groups=tuple(groups)),)

    def _lira(self, attacked: Sequence[Target]) -> tuple[Measure, ...]:
        if isinstance(self.shadows, Missing):
            return (self.shadows,)
        scored = []
        for target in attacked:
            labels = target.federation.dataset.labels
            phi = logit_scaled_confidence(target.logits(self.config), labels)
            scores = lira(phi, self.shadows.phi, self.shadows.members)
            scored.append(target.group(scores))
        groups = tuple(scored)
        return (
            Ranking(groups=groups),
            *(Ranking(groups=groups, fpr=rate) for rate in RATES),
        )


def _kept_back(
    protection: str, adversary: Adversary, why: Missing, seeds: tuple[int, ...]
) -> Finding:
    return Finding(
        protection=protection,
        adversary=adversary,
        view=RELEASED,
        scenario=AS_CONFIGURED,
        attack=LOSS,
        measures=(why,),
        seeds=seeds,
    )


def _no_worst_case(protection: str, seeds: tuple[int, ...]) -> Finding:
    why = (
        "membership in the worst case is measured by the canaries beside epsilon, "
        "under protections that claim one."
    )
    return Finding(
        protection=protection,
        adversary=Adversary.OUTSIDER,
        view=RELEASED,
        scenario=WORST_CASE,
        attack=LIRA,
        measures=(Missing(metric="AUC", why=why),),
        seeds=seeds,
    )
