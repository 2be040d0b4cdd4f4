"""The section [privacy]: budgets and the public constants of the noisy mechanisms.

Nothing here may be chosen by looking at the records that it protects: rates, batch
sizes and clip norms are constants that everybody knows beforehand. The noise is not
set but computed from the budget (`fl.privacy`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fl.section import Section, momentum_is_of_sgd


class ExamplePrivacy(Section):
    """DP-SGD on each client; a unit is one record, or one person's (Abadi et al. 2016).

    Where the unit is the subject, what is said of a record below is meant of a person.
    """

    unit: Literal["example", "subject"] = Field(
        default="example",
        description="what one epsilon is about: one record, or one person with all "
        "records. Where data.subject is given and this is not, it is subject: that a "
        "person with several records gets less must be said",
    )
    max_records_per_subject: int = Field(
        default=8,
        ge=1,
        le=4096,
        description="records of one person in a step of one client; public. Of more, "
        "so many are drawn afresh in every step",
    )
    max_sites_per_subject: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="clients at which one person may have records; public, and "
        "declared, since no client can know it. Every step counts so many times",
    )
    clip_norm_l2: float = Field(
        default=1.0, gt=0.0, description="bound on the gradient of one record"
    )
    sampling_rate: float = Field(
        default=0.25,
        gt=0.0,
        le=1.0,
        description="probability that a record is in a step's batch; public, never "
        "computed from a client's number of records",
    )
    batch_size: float = Field(
        default=16.0,
        gt=0.0,
        description="public constant that a step's sum is divided by; about "
        "sampling_rate times the records one expects at a client",
    )
    steps: int = Field(
        default=1, ge=1, le=1000, description="noisy steps of a client per round"
    )
    learning_rate: float = Field(default=0.5, gt=0.0)
    optimizer: Literal["sgd", "adam"] = Field(
        default="sgd",
        description="of the noisy steps; starts afresh every round, and sees noisy "
        "gradients only, so that it spends nothing",
    )
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="of sgd")
    rounds: int = Field(
        default=0,
        ge=0,
        description="rounds that a client's budget is to last for; then its ledger "
        "refuses further ones. 0: every round of the training",
    )

    _momentum_is_of_sgd = field_validator("momentum")(momentum_is_of_sgd)

    @property
    def releases(self) -> int:
        """Return how many noisy steps of a round may be about one unit."""
        return self.steps * self.max_sites_per_subject


class ClientPrivacy(Section):
    """Noise on the sum, by the server; the unit is one client (McMahan et al. 2018)."""

    clip_norm_l2: float = Field(
        default=1.0,
        gt=0.0,
        description="bound on the L2 norm of a client's update; the first one, where "
        "it adapts",
    )
    clip: Literal["fixed", "adaptive"] = Field(
        default="fixed",
        description="adaptive: the bound follows a quantile of the updates' norms, by "
        "a noised count in every round (Andrew et al. 2021)",
    )
    target_quantile: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="share of clients whose update is to be shorter than the bound",
    )
    clip_learning_rate: float = Field(
        default=0.2, gt=0.0, le=1.0, description="how fast the bound follows"
    )
    count_noise: float = Field(
        default=0.0,
        ge=0.0,
        description="standard deviation of the noise on the count. 0: a twentieth of "
        "the expected cohort, or the noise multiplier if that is more",
    )


class DistributedPrivacy(Section):
    """Noise in shares, by every client; clipped as [privacy.client] says."""

    value_bits: int = Field(
        default=16, ge=4, le=24, description="of one rounded value, before the noise"
    )
    noise: Literal["discrete-gaussian", "skellam"] = Field(
        default="discrete-gaussian",
        description="what each client adds to its integers",
    )


class FtrlPrivacy(Section):
    """Noise correlated over the rounds, by the server, where nobody is sampled.

    The unit is one client; its clip norm is that of [privacy.client].
    """

    kind: Literal["banded", "tree"] = Field(
        default="banded",
        description="how noise is correlated: by a banded square root of the prefix "
        "sums, or by binary trees",
    )
    separation: int = Field(
        default=4,
        ge=1,
        description="every client takes part in each so manieth round, by a public "
        "schedule; no more than there are rounds",
    )
    bands: int = Field(
        default=0,
        ge=0,
        description="of the banded kind, at most the separation; one is independent "
        "noise. 0: as many as the separation",
    )
    restart: int = Field(
        default=0,
        ge=0,
        description="rounds after which a new tree begins. 0: one tree for all rounds",
    )


class LocalPrivacy(Section):
    """Noise on every upload, by its client; clipped as [privacy.client] says."""

    rounds: int = Field(
        default=0,
        ge=0,
        description="uploads that a client's budget is to last for; then its ledger "
        "refuses further ones. 0: one in every round of the training",
    )


class PrivacyConfig(Section):
    """What differential privacy is to guarantee, over all rounds together."""

    epsilon: float = Field(
        default=8.0, gt=0.0, le=1000.0, description="budget of each unit"
    )
    delta: float = Field(
        default=1e-5,
        gt=0.0,
        lt=0.01,
        description="probability with which the bound may fail; below one over the "
        "number of units",
    )
    ledger: str = Field(
        default="",
        description="file that keeps one budget over several runs, beside the "
        "ledger.db of each; takes one seed of one protection with noise. Empty: none",
    )
    ledger_epsilon: float = Field(
        default=0.0,
        ge=0.0,
        le=1000.0,
        description="budget of each unit in that file, over all runs. 0: epsilon, so "
        "that one run may use it up",
    )
    example: ExamplePrivacy = ExamplePrivacy()
    client: ClientPrivacy = ClientPrivacy()
    distributed: DistributedPrivacy = DistributedPrivacy()
    ftrl: FtrlPrivacy = FtrlPrivacy()
    local: LocalPrivacy = LocalPrivacy()
    allow_useless: bool = Field(
        default=False,
        description="run client-level noise for fewer than 50 clients, where it "
        "drowns the model; the page says so",
    )


def by_subject(privacy: PrivacyConfig, subject: str) -> PrivacyConfig:
    """Let data.subject imply the unit of [privacy.example].

    Raises:
        ValueError: the unit wants a subject that is not given, or a key wants the unit.
    """
    own = privacy.example
    if subject and "unit" not in own.model_fields_set:
        own = own.model_copy(update={"unit": "subject"})
        return privacy.model_copy(update={"example": own})
    if own.unit == "subject":
        if not subject:
            raise ValueError(
                'example.unit = "subject" but data.subject is empty; name the column '
                "that says to whom a record belongs."
            )
        return privacy
    fields = type(own).model_fields
    for key in ("max_records_per_subject", "max_sites_per_subject"):
        if getattr(own, key) != fields[key].default:
            raise ValueError(
                f'example.{key} = {getattr(own, key)} is of the unit "subject", but '
                f"the unit is the example; "
                + ("remove one of the two." if subject else "give data.subject.")
            )
    return privacy
