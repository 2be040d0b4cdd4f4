"""The black-box attacks on one model at a time, and who is shown what they found.

The attacks and what each needs stand in `attacks.membership.registry`; the
configuration names those that run. Scores are made without membership bits; these only
enter the findings' groups. Attacks that learn from shadow models are asked of the
released model alone, which the shadows were trained like.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary
from attacks.errors import ParameterError
from attacks.membership import (
    ATTACKS,
    Known,
    MembershipAttack,
    Needs,
    Shadowing,
    queries,
    scored,
)
from fl.config import Config
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.local import predict_logits
from fl.membership import targets
from fl.membership.shadows import Shadows
from fl.membership.targets import OUTSIDE, RELEASED, Runs, Target, View
from fl.protection import Protection
from fl.seeds import seed_for
from fl.shots import AS_CONFIGURED, WORST_CASE

LOSS, LIRA = ATTACKS["loss"].title, ATTACKS["lira"].title
RATES = (0.1, 0.01)


def findings(
    runs: Runs,
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack every model that each adversary sees under ``protection``."""
    seeds = tuple(run.seed for run, _ in runs)
    chosen = [ATTACKS[name] for name in config.attacks.membership]
    on_one = [one for one in chosen if not one.needs.rounds]
    alone = [one for one in on_one if one.needs.shadows is Shadowing.NONE]
    over = [one for one in chosen if one.needs.rounds]
    attacker = _Attacker(protection.name, shadows, config, seeds)
    rows = attacker.rank(on_one, targets.released(runs, protection))
    if over:
        rows += attacker.rank(over, targets.over_rounds(runs, protection))
    if protection.clients_only is not None:
        why = Missing(metric="AUC", why=protection.clients_only)
        name = chosen[0].title
        rows += [_kept_back(protection.name, name, one, why, seeds) for one in OUTSIDE]
    if alone:
        for view in targets.inside(runs, protection, config):
            rows += attacker.rank(alone, view)
    rows.append(_no_worst_case(protection.name, seeds))
    return rows


def learns(config: Config) -> bool:
    """Say whether any of the chosen attacks learns from shadow models."""
    return any(_learns(ATTACKS[name].needs) for name in config.attacks.membership)


@dataclass(frozen=True, slots=True)
class _Attacker:
    protection: str
    shadows: Shadows | Missing
    config: Config
    seeds: tuple[int, ...]

    def rank(self, attacks: Sequence[MembershipAttack], view: View) -> list[Finding]:
        """Score the targets once per attack, for all adversaries who see them."""
        known = [self._known(target, attacks) for target in view.targets]
        rows = []
        for attack in attacks:
            began = time.perf_counter()
            measures = self._measured(attack, view.targets, known)
            seconds = time.perf_counter() - began
            if _learns(attack.needs) and isinstance(self.shadows, Shadows):
                # One set of shadows serves all protections; each attack would need it.
                seconds += self.shadows.seconds
            rows += [
                Finding(
                    protection=self.protection,
                    adversary=adversary,
                    view=view.name,
                    scenario=AS_CONFIGURED,
                    attack=attack.title,
                    measures=measures,
                    seeds=self.seeds,
                    seconds=seconds,
                )
                for adversary in view.adversaries
            ]
        return rows

    def _measured(
        self,
        attack: MembershipAttack,
        attacked: Sequence[Target],
        known: Sequence[Known],
    ) -> tuple[Measure, ...]:
        learns = _learns(attack.needs)
        if learns and isinstance(self.shadows, Missing):
            return (self.shadows,)
        try:
            groups = tuple(
                _group(attack, target, one, self._seed("folds"))
                for target, one in zip(attacked, known, strict=True)
            )
        except ParameterError as error:  # too small a population, say
            return (Missing(metric="AUC", why=str(error)),)
        rates = RATES if learns else ()
        return (
            Ranking(groups=groups),
            *(Ranking(groups=groups, fpr=rate) for rate in rates),
        )

    def _known(self, target: Target, attacks: Sequence[MembershipAttack]) -> Known:
        """Return what these attacks need to know of the target, computed once."""
        needs = [attack.needs for attack in attacks]
        shadows = self.shadows if isinstance(self.shadows, Shadows) else None
        if not any(_learns(one) for one in needs):
            shadows = None
        offline = any(one.shadows is Shadowing.OUT for one in needs)
        dataset = target.federation.dataset
        over = any(one.rounds for one in needs)
        copied = any(one.copies for one in needs)
        return Known(
            labels=dataset.labels,
            seed=self._seed("attack"),
            logits=target.logits(self.config),
            shadows=None if shadows is None else shadows.answers,
            prior=shadows.prior if shadows is not None and offline else None,
            features=dataset.features,
            copies=self._copies(target) if copied else None,
            rounds=target.rounds(self.config) if over else None,
        )

    def _copies(self, target: Target) -> NDArray[np.int64]:
        """Return the classes that the model names for altered copies, (Q, records)."""
        dataset, model = target.federation.dataset, target.model(self.config)
        copies = queries(
            dataset.features, dataset.value_range, seed=self._seed("copies")
        )
        return np.stack(
            [predict_logits(model, torch.from_numpy(one)).argmax(1) for one in copies]
        )

    def _seed(self, purpose: str) -> int:
        return seed_for(self.config.seed, "membership", purpose)


def _learns(needs: Needs) -> bool:
    return needs.shadows is not Shadowing.NONE


def _group(attack: MembershipAttack, target: Target, known: Known, seed: int) -> Group:
    """Score one target; who is held out of training is all that is known of members."""
    federation = target.federation
    outsiders = np.zeros(len(known.labels), dtype=np.bool_)
    outsiders[federation.held_out.ids] = True
    persons = federation.dataset.subjects
    return target.group(scored(attack, known, outsiders, seed=seed, persons=persons))


def _kept_back(
    protection: str,
    attack: str,
    adversary: Adversary,
    why: Missing,
    seeds: tuple[int, ...],
) -> Finding:
    return Finding(
        protection=protection,
        adversary=adversary,
        view=RELEASED,
        scenario=AS_CONFIGURED,
        attack=attack,
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
