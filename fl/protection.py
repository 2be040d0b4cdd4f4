"""From the name of a protection in the configuration to what runs it.

One table. What each protection proves, and under which assumption, stands beside it, so
that the page never says more than the protocol does. A protection that this federation
cannot have is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import dp
import secagg
from fl import privacy
from fl.config import Config
from fl.errors import ConfigError
from fl.plans import COUNTS, encoder_for, masked, plain, plan, promise, same
from fl.privacy import ExampleNoise
from secagg.he import EncryptedSum, require_tenseal

HIDES_MASKED = (
    "pairwise and self masks make one upload indistinguishable from uniform in the "
    "ring; assumes a server that follows the protocol, at most {corrupt} colluding "
    "clients, X25519 and AES-256."
)
HIDES_ENCRYPTED = (
    "BFV ciphertexts under a key that the server does not have; assumes a server that "
    "follows the protocol, that no client hands the key over, ring learning with "
    "errors at 128 bits, and clients that answer no question about decryption."
)


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
        shared_key: the encrypted sum whose one key, which every client has, opens
            every upload; or None.
        example: noise that each client adds, or None.
        central: noise that the server adds to the sum, or None.
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
    shared_key: EncryptedSum | None = None
    example: ExampleNoise | None = None
    central: dp.GaussianSum | None = None
    sum_error: float = 0.0
    clip_norm_l2: float
    proves: str

    @property
    def unit(self) -> str | None:
        """Return the unit of differential privacy, or None without noise."""
        if self.central is not None:
            return privacy.CLIENT
        return privacy.EXAMPLE if self.example is not None else None

    @property
    def event(self) -> dp.DpEvent | None:
        """Return what one noisy release spends, or None without noise."""
        if self.central is not None:
            return self.central.event
        return self.example.event if self.example is not None else None

    def weight(self, records: int) -> int:
        """Return a client's weight: its records, or one where that would tell."""
        return records if self.unit is None else 1


def build(name: str, config: Config, clients: int) -> Protection:
    """Return the protection called ``name`` for ``clients`` clients.

    Raises:
        UnavailableError: this federation or machine cannot have it.
        secagg.ParameterError: the caller's numbers admit no such protection.
    """
    return _TABLE[name](config, clients)


def in_the_clear(protection: Protection) -> Protection:
    """Return the same training and noise, with the updates summed in the clear."""
    return replace(
        protection,
        aggregator=plain,
        smallest=1,
        hides_one_upload=None,
        shared_key=None,
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


def _none(config: Config, clients: int) -> Protection:
    return Protection(
        name="none",
        aggregator=plain,
        smallest=1,
        counter=secagg.PlainSum(),
        hides_one_upload=None,
        clip_norm_l2=config.training.clip_norm_l2,
        proves="Nothing: the server reads every update and every weight.",
    )


def _secagg(config: Config, clients: int) -> Protection:
    federation = config.federation
    return Protection(
        name="secagg",
        aggregator=partial(
            masked, config, encoder_for(config, config.training.clip_norm_l2)
        ),
        smallest=config.federation.fewest,
        counter=secagg.PairwiseMask(replace(plan(config, clients), encoder=COUNTS)),
        hides_one_upload=HIDES_MASKED.format(corrupt=federation.corrupt),
        clip_norm_l2=config.training.clip_norm_l2,
        proves=f"{promise(config)} It does not bound what the sum itself reveals.",
    )


def _he(config: Config, clients: int) -> Protection:
    try:
        require_tenseal()
    except secagg.ParameterError as error:
        raise UnavailableError(str(error)) from error
    clip = config.training.clip_norm_l2
    encrypted = EncryptedSum(encoder=encoder_for(config, clip), clients=clients)
    return Protection(
        name="he",
        aggregator=partial(same, encrypted),
        smallest=config.federation.fewest,
        counter=EncryptedSum(encoder=COUNTS, clients=clients),
        hides_one_upload=HIDES_ENCRYPTED,
        shared_key=encrypted,
        clip_norm_l2=clip,
        proves=(
            "The server adds ciphertexts that it cannot open (BFV through TenSEAL, the "
            "whole update every round); all clients share one key, so any one of them "
            "together with the server reads everybody's updates. A round is held with "
            f"{config.federation.fewest} clients or more, but nothing stops it if most "
            "of them then vanish. It does not bound what the decrypted sum itself "
            "reveals."
        ),
    )


def _dp_sgd(config: Config, clients: int) -> Protection:
    noise = privacy.example_noise(config)
    return Protection(
        name="dp-sgd",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        example=noise,
        clip_norm_l2=config.training.clip_norm_l2,
        proves=(
            "Each client adds noise before it uploads, so the bound on epsilon below "
            "holds against everybody, the server with all other clients included; the "
            "unit is one record, not one client."
        ),
    )


def _central_dp(config: Config, clients: int) -> Protection:
    _refuse_few(config, clients)
    noise = privacy.client_noise(config, clients)
    return Protection(
        name="central-dp",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        central=noise,
        # The mean is rounded to float32; twice that, for the arithmetic around it.
        sum_error=clients * noise.clip_norm_l2 * 2.0**-22,
        clip_norm_l2=noise.clip_norm_l2,
        proves=(
            "The server adds noise to the sum before it releases a model, so the bound "
            "on epsilon below holds for whoever sees released models only; against the "
            "server itself nothing is proven: it reads every update."
        ),
    )


def _secagg_central_dp(config: Config, clients: int) -> Protection:
    noised = _central_dp(config, clients)
    hiding = _secagg(config, clients)
    encoder = encoder_for(config, noised.clip_norm_l2, weights=False)
    return Protection(
        name="secagg+central-dp",
        aggregator=partial(masked, config, encoder),
        smallest=hiding.smallest,
        counter=None,
        hides_one_upload=hiding.hides_one_upload,
        central=noised.central,
        # Once for the sum, twice for taking the zeros of absent clients out of it.
        sum_error=3 * clients * encoder.max_error,
        clip_norm_l2=noised.clip_norm_l2,
        proves=(
            "The server sees the sum of a round before it adds noise, and no single "
            "masked upload. A round that too few join or finish is filled up with the "
            "zeros of absent clients and not aborted, which would tell who had joined; "
            "so a sum may hold few honest updates, in the extreme one. The bound on "
            "epsilon below holds for whoever sees released models only; it assumes "
            "that a client which fell silent after its upload answers again."
        ),
    )


def _refuse_few(config: Config, clients: int) -> None:
    if clients < privacy.FEWEST_CLIENTS and not config.privacy.allow_useless:
        raise UnavailableError(
            f"client-level differential privacy hides one client among {clients}, and "
            f"below {privacy.FEWEST_CLIENTS} clients the noise that this takes drowns "
            "the model; use dp-sgd, whose unit is one record, or --allow-useless to "
            "see for yourself."
        )


_TABLE: dict[str, Callable[[Config, int], Protection]] = {
    "none": _none,
    "secagg": _secagg,
    "he": _he,
    "dp-sgd": _dp_sgd,
    "central-dp": _central_dp,
    "secagg+central-dp": _secagg_central_dp,
}
NAMES = tuple(_TABLE)
