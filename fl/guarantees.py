"""What differential privacy guarantees in this run, and what was measured against it.

The upper bound is the ledger's: what the party that spent most has spent. The lower
bound is the canaries'. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

import dp
from dp.statement import (
    ADAPTIVE_MECHANISM,
    CLIENT_MECHANISM,
    CLIENT_TRUST,
    EXAMPLE_MECHANISM,
    EXAMPLE_TRUST,
    FTRL_MECHANISM,
    LOCAL_MECHANISM,
    LOCAL_TRUST,
    SHARES_MECHANISM,
    SHARES_NOT_COVERED,
    SHARES_TRUST,
    Claim,
    statement,
    subject_mechanism,
    subject_trust,
)
from fl import privacy
from fl.config import Config
from fl.drill import CLAIMED, GROUP, NAME, Drilled
from fl.evidence import Evidence
from fl.privacy_settings import ExamplePrivacy
from fl.protection import Central, Protection
from fl.report import DrillRow, LedgerRow, PrivacyRow, Statement
from fl.run import Account
from fl.shares import Shares


def bounds(
    protections: Sequence[Protection], evidence: Evidence, config: Config
) -> tuple[PrivacyRow, ...]:
    """Return one row per protection: epsilon proven and measured, null if unbounded."""
    return tuple(_bound(one, evidence, config) for one in protections)


def _bound(protection: Protection, evidence: Evidence, config: Config) -> PrivacyRow:
    accounts = _accounts(protection, evidence)
    lower = evidence.bounds.get(protection.name)
    gaussian = evidence.gaussian.get(protection.name)
    return PrivacyRow(
        protection=protection.name,
        unit=protection.unit or privacy.EXAMPLE,
        relation=protection.relation,
        delta=config.privacy.delta if accounts else None,
        epsilon_upper=max((one.epsilon for one in accounts), default=None),
        accountant=protection.accountant if accounts else None,
        epsilon_lower=None if lower is None else lower.value,
        ceiling=None if lower is None else lower.ceiling,
        confidence=None if lower is None else lower.confidence,
        n_canaries=0 if lower is None else lower.canaries,
        epsilon_lower_gaussian=None if gaussian is None else gaussian.value,
    )


def ledger(
    protections: Sequence[Protection], evidence: Evidence, config: Config
) -> tuple[LedgerRow, ...]:
    """Return what each party spent, in the repetition in which it spent most."""
    return tuple(
        LedgerRow(
            protection=protection.name,
            party=account.party,
            unit=account.unit,
            relation=protection.relation,
            releases=account.releases,
            refused=account.refused,
            epsilon_spent=account.epsilon,
            epsilon_budget=config.privacy.epsilon,
            delta=config.privacy.delta,
        )
        for protection in protections
        for account in _most(_accounts(protection, evidence))
    )


def statements(
    protections: Sequence[Protection], evidence: Evidence, config: Config
) -> tuple[Statement, ...]:
    """Return the privacy statement of every protection that has an epsilon."""
    return tuple(
        Statement(
            protection=protection.name,
            sentences=_sentences(protection, evidence, config),
        )
        for protection in protections
        if protection.unit is not None
    )


def drills(drilled: Sequence[Drilled]) -> tuple[DrillRow, ...]:
    """Return the drill's two rows."""
    return tuple(
        DrillRow(
            name=NAME,
            noise="added" if one.noise else "left out",
            claimed_epsilon=CLAIMED,
            delta=one.delta,
            epsilon_lower=one.bound.value,
            ceiling=one.bound.ceiling,
            confidence=one.bound.confidence,
            n_canaries=one.bound.canaries,
            violated=one.bound.value > CLAIMED,
            detail=(
                f"{one.bound.right} of {one.bound.guesses} guesses right about "
                f"{one.bound.canaries} canary clients, summed by secure aggregation in "
                f"groups of {GROUP}."
            ),
        )
        for one in drilled
    )


def _accounts(protection: Protection, evidence: Evidence) -> list[Account]:
    return [
        account
        for repeat in evidence.repeats
        for account in repeat.runs[protection.name].accounts
    ]


def _most(accounts: Sequence[Account]) -> Iterator[Account]:
    """Yield one account per party: the one that spent most."""
    for party in sorted({one.party for one in accounts}):
        own = [one for one in accounts if one.party == party]
        yield max(own, key=lambda one: (one.epsilon, one.refused))


def _sentences(
    protection: Protection, evidence: Evidence, config: Config
) -> tuple[str, ...]:
    accounts = _accounts(protection, evidence)
    if not accounts:
        return ("Nothing was released under this mechanism.",)
    most = max(accounts, key=lambda one: (one.epsilon, one.releases))
    example, central = protection.example, protection.central
    common = partial(
        Claim,
        unit=most.unit,
        relation=protection.relation,
        releases=most.releases,
        epsilon=most.epsilon,
        delta=config.privacy.delta,
        accountant=protection.accountant,
        simulated=True,
    )
    if central is not None:
        claim = common(
            mechanism=_central_mechanism(central),
            trusted=CLIENT_TRUST,
            limits=_limits(central),
            noise_multiplier=central.noise_multiplier,
            clip_norm_l2=central.clip_norm_l2,
            sampling_rate=central.sampling_rate,
        )
    elif example is not None:
        mechanism, trusted = _of_example(example.settings)
        claim = common(
            mechanism=mechanism,
            trusted=trusted,
            noise_multiplier=example.noise_multiplier,
            clip_norm_l2=example.settings.clip_norm_l2,
            sampling_rate=example.settings.sampling_rate,
        )
    elif protection.local is not None:
        claim = common(
            mechanism=LOCAL_MECHANISM.format(std=protection.local.std),
            trusted=LOCAL_TRUST,
            noise_multiplier=protection.local.noise_multiplier,
            clip_norm_l2=protection.local.clip_norm_l2,
            sampling_rate=1.0,
        )
    elif protection.shares is not None:
        claim = _shares_claim(common, protection.shares, len(_final(evidence)))
    else:
        return ()
    return statement(claim)


def _final(evidence: Evidence) -> NDArray[np.float32]:
    """Return a released model; all are of one length."""
    return next(iter(evidence.repeats[0].runs.values())).final


def _shares_claim(common: Callable[..., Claim], shares: Shares, length: int) -> Claim:
    total = shares.at(length)
    return common(
        mechanism=SHARES_MECHANISM.format(
            noise=shares.mechanism.replace("-", " "),
            variance=total.noise.variance,
            honest=total.honest,
        ),
        trusted=SHARES_TRUST.format(corrupt=shares.corrupt),
        noise_multiplier=total.noise_multiplier,
        clip_norm_l2=shares.clip_norm_l2,
        sampling_rate=shares.rate,
        not_covered=SHARES_NOT_COVERED,
    )


def _central_mechanism(central: Central) -> str:
    if isinstance(central, dp.AdaptiveSum):
        return ADAPTIVE_MECHANISM
    return CLIENT_MECHANISM if isinstance(central, dp.GaussianSum) else FTRL_MECHANISM


def _limits(central: Central) -> str:
    """Say what the bound assumes of who takes part, where it is no coin."""
    if not isinstance(central, dp.CorrelatedSum):
        return ""
    limits = central.strategy.participation
    return (
        f"No client is sampled, and the bound gains nothing from who came. It holds "
        f"for a client that takes part in at most {limits.count} of the "
        f"{limits.rounds} planned rounds, any two of them at least "
        f"{limits.separation} apart; whoever would go beyond that is refused. "
        "Places in the schedule are public, and one client less leaves its own empty."
    )


def _of_example(own: ExamplePrivacy) -> tuple[str, str]:
    """Return what DP-SGD does under its unit, and who is trusted with what."""
    if own.unit != privacy.SUBJECT:
        return EXAMPLE_MECHANISM, EXAMPLE_TRUST
    return (
        subject_mechanism(own.max_records_per_subject),
        subject_trust(own.max_sites_per_subject),
    )
