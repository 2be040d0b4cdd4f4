"""One way of protecting the updates, ready to run; `fl.protections` builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

import dp
import secagg
from dp.accounting import SHARES_ACCOUNTANT
from dp.local import LocalGaussian
from dp.relation import REPLACE, ZERO_OUT
from fl import privacy
from fl.errors import ConfigError
from fl.plans import plain, same
from fl.privacy import ExampleNoise
from fl.selective import Selective
from fl.shares import NoisedPlainSum, Shares
from secagg.transcript import Transcript, Upload

Central: TypeAlias = dp.GaussianSum | dp.CorrelatedSum | dp.AdaptiveSum
"""Noise that the server adds, one way or another."""


class SharedKey(Protocol):
    """A key that every client has, with the aggregator that made it."""

    def opened(self, transcript: Transcript) -> Mapping[str, Upload]:
        """Read what it opens of each upload of a round of this very aggregator."""


class UnavailableError(ConfigError):
    """A protection that this federation cannot have; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """One way of protecting the updates, ready to run; can be sent to a worker.

    Attributes:
        name: as in the configuration.
        aggregator: what moves the updates of a cohort, by the cohort's size.
        smallest: the least cohort that it can serve.
        counter: the same for counts of all clients, which come back exactly; what is
            learnt from the data before training goes through it. None where nothing
            may be learnt without noise.
        hides_one_upload: the rule and assumption by which a single upload tells the
            server nothing, or None when it reads uploads.
        shared_key: what one key, which every client has, opens of every upload; or
            None.
        clients_only: why nothing that follows from the sum, the released model
            included, may reach the server or an outsider; or None where it may.
        selective: how an update is sent of which only a part is encrypted, or None.
            Before it is run, `fl.sensitivity` has to choose that part.
        example: noise that each client adds, or None.
        central: noise that the server adds to the sum, each round's its own or
            correlated over the run, or None.
        shares: noise that each client adds to its integers, or None; all enrolled
            clients then upload in every round.
        local: noise that each client adds to its upload, or None.
        sum_error: public bound per coordinate on how far rounding moves a sum of all
            clients; the noise covers it.
        clip_norm_l2: public bound on the norm of an update.
        proves: what is proven of it, for the page.
    """

    name: str
    aggregator: Callable[[int], secagg.Aggregator]
    smallest: int
    counter: secagg.Aggregator | None
    hides_one_upload: str | None
    shared_key: SharedKey | None = None
    clients_only: str | None = None
    selective: Selective | None = None
    example: ExampleNoise | None = None
    central: Central | None = None
    shares: Shares | None = None
    local: LocalGaussian | None = None
    sum_error: float = 0.0
    clip_norm_l2: float
    proves: str

    @property
    def unit(self) -> str | None:
        """Return the unit of differential privacy, or None without noise."""
        if any(one is not None for one in (self.central, self.shares, self.local)):
            return privacy.CLIENT
        return self.example.settings.unit if self.example is not None else None

    @property
    def relation(self) -> str:
        """Return which data sets are neighbours under `unit`."""
        if self.local is not None:
            return REPLACE
        # A schedule has a place for everybody: an empty one puts in zeros.
        scheduled = isinstance(self.central, dp.CorrelatedSum)
        if scheduled or self.shares is not None:
            return ZERO_OUT
        return privacy.RELATION

    @property
    def accountant(self) -> str:
        """Return what its releases are accounted for by."""
        return SHARES_ACCOUNTANT if self.shares is not None else dp.ACCOUNTANT

    def event(self, length: int) -> dp.DpEvent | None:
        """Return what one noisy release of so many values spends; None without noise.

        Where noise is correlated over the run, the whole run is one release.

        Raises:
            dp.ParameterError: no noise in shares keeps the budget at this length.
        """
        if self.shares is not None:
            return self.shares.at(length).event
        for one in (self.central, self.local):
            if one is not None:
                return one.event
        return self.example.event if self.example is not None else None

    def weight(self, records: int) -> int:
        """Return a client's weight: its records, or one where that would tell."""
        return records if self.unit is None else 1


def in_the_clear(protection: Protection) -> Protection:
    """Return the same training and noise, with the updates summed in the clear.

    For an attacker's own models: noise in shares would be all the server's to see.
    """
    shares = protection.shares
    return replace(
        protection,
        aggregator=plain if shares is None else partial(same, NoisedPlainSum(shares)),
        smallest=1,
        hides_one_upload=None,
        shared_key=None,
        clients_only=None,
        selective=None,
    )


def counter_for(
    protection: Protection, audited: Sequence[Protection]
) -> secagg.Aggregator | None:
    """Return what sums counts before training, or None where nothing may be counted.

    All protections of one audit get the same data, so one that forbids counting
    without noise forbids it to all.
    """
    if any(one.unit is not None for one in audited):
        return None
    return protection.counter
