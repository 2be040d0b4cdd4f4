"""From a budget to the noise that keeps it: the two mechanisms that a run can use.

``example``: DP-SGD on each client, so that its upload tells little of any one record
(or, with the unit ``subject``, of any one person), whoever reads it. ``client``: noise
on the clients' sum, added by a server that is trusted to add it, so that the released
models tell little of any one client. The noise is the least that keeps the budget over
all planned rounds (PLD accountant).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import dp
from dp.accounting import coarse_epsilon
from dp.local import LocalGaussian
from fl.config import Config
from fl.errors import ConfigError
from fl.privacy_settings import ExamplePrivacy, PrivacyConfig

EXAMPLE, SUBJECT, CLIENT = "example", "subject", "client"
RELATION = dp.RELATION
# Below this many clients the noise of client-level privacy drowns the sum.
FEWEST_CLIENTS = 50
EVERYBODY = "all clients"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleNoise:
    """DP-SGD as every client runs it, with its noise.

    Attributes:
        settings: the public constants.
        noise_multiplier: standard deviation of the noise over the clip norm.
        rounds: how many rounds the budget lasts for at one client.
    """

    settings: ExamplePrivacy
    noise_multiplier: float
    rounds: int

    @property
    def event(self) -> dp.DpEvent:
        """Return what one noisy step at one client spends."""
        return dp.sampled_gaussian(self.noise_multiplier, self.settings.sampling_rate)


def example_noise(config: Config) -> ExampleNoise:
    """Return the least noise by which each client keeps its budget."""
    own, rounds = config.privacy.example, config.training.rounds
    lasting = min(own.rounds or rounds, rounds)
    return ExampleNoise(
        settings=own,
        noise_multiplier=_multiplier(
            config.privacy, own.sampling_rate, lasting * own.releases
        ),
        rounds=lasting,
    )


def client_noise(config: Config, clients: int) -> dp.GaussianSum:
    """Return the server's mechanism with the least noise that keeps the budget."""
    rate = config.federation.participation
    return dp.GaussianSum(
        clip_norm_l2=config.privacy.client.clip_norm_l2,
        noise_multiplier=_multiplier(config.privacy, rate, config.training.rounds),
        sampling_rate=rate,
        clients=clients,
    )


def adaptive_noise(config: Config, clients: int) -> dp.AdaptiveSum:
    """Return the same mechanism with a clip norm that follows the updates.

    Raises:
        ConfigError: [privacy.client] asks for what cannot be.
    """
    own, fixed = config.privacy.client, client_noise(config, clients)
    usual = max(fixed.denominator / 20, fixed.noise_multiplier)
    try:
        return dp.AdaptiveSum(
            clip_norm_l2=fixed.clip_norm_l2,
            start=fixed.clip_norm_l2,
            noise_multiplier=fixed.noise_multiplier,
            count_noise=own.count_noise or usual,
            quantile=own.target_quantile,
            learning_rate=own.clip_learning_rate,
            sampling_rate=fixed.sampling_rate,
            clients=clients,
        )
    except dp.ParameterError as error:
        raise ConfigError(f"[privacy.client] asks for what cannot be: {error}") from (
            error
        )


def correlated_noise(config: Config, clients: int) -> dp.CorrelatedSum:
    """Return the server's mechanism for a whole run, with the least noise.

    Raises:
        ConfigError: [privacy.ftrl] asks for what cannot be.
    """
    own, rounds = config.privacy.ftrl, config.training.rounds
    separation = min(own.separation, rounds)
    strategy: dp.Banded | dp.Tree
    try:
        limits = dp.Participation(
            rounds=rounds, separation=separation, most=-(-rounds // separation)
        )
        if own.kind == "banded":
            strategy = dp.Banded(participation=limits, bands=own.bands or separation)
        else:
            strategy = dp.Tree(participation=limits, restart=own.restart or rounds)
    except dp.ParameterError as error:
        raise ConfigError(f"[privacy.ftrl] asks for what cannot be: {error}") from error
    return dp.CorrelatedSum(
        clip_norm_l2=config.privacy.client.clip_norm_l2,
        noise_multiplier=_multiplier(config.privacy, 1.0, 1),
        strategy=strategy,
        clients=clients,
    )


def local_noise(config: Config) -> LocalGaussian:
    """Return the least noise on every upload that keeps each client's budget."""
    rounds = config.training.rounds
    lasting = min(config.privacy.local.rounds or rounds, rounds)
    return LocalGaussian(
        clip_norm_l2=config.privacy.client.clip_norm_l2,
        noise_multiplier=_multiplier(config.privacy, 1.0, lasting),
    )


def ledger(unit: str, relation: str, config: Config) -> dp.Ledger:
    """Return a run's empty ledger, with the configured budget for each party."""
    privacy = config.privacy
    budget = dp.Budget(epsilon=privacy.epsilon, delta=privacy.delta)
    return dp.Ledger(budget, unit=unit, relation=relation)


def spent(books: dp.Ledger, event: dp.DpEvent) -> float:
    """Return a bound on what the party with the most releases of ``event`` has spent.

    Quick and slightly above the ledger's own figure: for the course of a run.
    """
    releases = Counter[str]()
    for entry in books.entries():
        releases[entry.party] += entry.count
    if not releases:
        return 0.0
    return coarse_epsilon(event, max(releases.values()), books.budget.delta)


@lru_cache(maxsize=64)
def _multiplier(privacy: PrivacyConfig, rate: float, count: int) -> float:
    try:
        return dp.noise_multiplier_for(privacy.epsilon, privacy.delta, rate, count)
    except dp.ParameterError as error:
        raise ConfigError(f"[privacy] asks for what cannot be: {error}") from error
