"""The typed tree of everything a run can be told; its defaults are the documentation.

Sections and keys are those of the TOML file. Values are checked here, by strict types
(`true` is no number, `"3"` is no integer) and by the few rules that join two keys.
This module reads no file and touches no data: see `fl.config` and `fl.data`.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from fl.attack_settings import AttacksConfig
from fl.data.settings import DataConfig
from fl.he_settings import HeConfig
from fl.log_settings import LogConfig
from fl.privacy_settings import PrivacyConfig, by_subject
from fl.section import Section, Size, momentum_is_of_sgd
from fl.usercode import USER_CODE

Partition = Literal["iid", "dirichlet", "site"]
ProtectionName = Literal[
    "none",
    "secagg",
    "he-bfv",
    "he-compact",
    "he-ckks",
    "he-selective",
    "dp-sgd",
    "secagg+dp-sgd",
    "he-bfv+dp-sgd",
    "central-dp",
    "secagg+central-dp",
    "distributed-dp",
    "dp-ftrl",
    "secagg+dp-ftrl",
    "local-dp",
]
# What an audit tries where no names are given. Under distributed-dp all clients upload
# in every round, canaries too, which takes as long as all of these together.
USUAL: tuple[ProtectionName, ...] = (
    "none",
    "secagg",
    "he-bfv",
    "dp-sgd",
    "central-dp",
    "secagg+central-dp",
)

# What a protection was called once, and is called now.
RENAMED = {"he": "he-bfv", "he+dp-sgd": "he-bfv+dp-sgd"}


KINDS = ("logreg", "mlp", "cnn")
# Every sum that is released must hold the inputs of two honest clients or more.
HONEST_MIN = 2


class FederationConfig(Section):
    """Who takes part, who may vanish, who may collude with the server."""

    clients: int = Field(default=10, ge=2, le=1024, description="n")
    partition: Partition = Field(
        default="iid",
        description="how records are dealt to clients: evenly, with label skew, or "
        "by the site they come from (implied by data.sites)",
    )
    alpha: float = Field(
        default=0.5,
        gt=0.0,
        description="concentration of the dirichlet partition: small is skewed",
    )
    participation: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="probability with which a client joins a round; each client's coin "
        "is its own, so cohorts vary in size",
    )
    corrupt: int = Field(
        default=2, ge=0, description="clients that may collude with the server"
    )
    drop: int = Field(default=3, ge=0, description="clients that may vanish in a round")
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="probability that a client vanishes in a simulated round",
    )

    @property
    def cohort(self) -> int:
        """Return how many clients are expected in a round, rounded down."""
        return int(self.clients * self.participation)

    @property
    def fewest(self) -> int:
        """Return the fewest clients whose sum a plan of this federation can serve."""
        return self.drop + self.corrupt + HONEST_MIN


class ModelConfig(Section):
    """What is trained."""

    kind: str = Field(
        default="mlp", description='"logreg", "mlp", "cnn" or "package.module:Class"'
    )
    hidden: Annotated[tuple[Size, ...], Field(strict=False)] = Field(
        default=(64,), description="widths of the hidden layers of the mlp"
    )

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind in KINDS or USER_CODE.fullmatch(kind):
            return kind
        raise ValueError(f'is none of {", ".join(KINDS)} or "module:Class".')


class TrainingConfig(Section):
    """Federated averaging: local steps on each client, then the weighted mean.

    Clients that add noise to every step (dp-sgd) step as [privacy.example] says.
    """

    rounds: int = Field(default=20, ge=1, le=100_000)
    local_epochs: int = Field(
        default=1, ge=1, le=1000, description="passes over a client's records per round"
    )
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.5, gt=0.0)
    optimizer: Literal["sgd", "adam"] = Field(
        default="sgd", description="of the local steps; starts afresh every round"
    )
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="of sgd")
    weight_decay: float = Field(
        default=0.0, ge=0.0, description="times the parameters, added to each gradient"
    )
    proximal: float = Field(
        default=0.0,
        ge=0.0,
        description="mu of FedProx: pulls local steps back to the released model",
    )
    schedule: Literal["constant", "cosine", "step"] = Field(
        default="constant",
        description="of the learning rate over the rounds: down half a cosine to a "
        "hundredth, or halved at each quarter",
    )
    warmup: int = Field(
        default=0, ge=0, description="rounds over which the learning rate climbs"
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="that stacked local training runs on; the bits differ between them",
    )
    clip_norm_l2: float = Field(
        default=16.0,
        gt=0.0,
        description="public bound on the L2 norm of a client's update",
    )
    value_bits: int = Field(
        default=24, ge=8, le=32, description="bits per coordinate under secagg"
    )
    weight_max: int = Field(
        default=65535,
        ge=1,
        le=2**24,
        description="largest weight (number of records) a client may claim",
    )

    _momentum_is_of_sgd = field_validator("momentum")(momentum_is_of_sgd)

    @field_validator("warmup")
    @classmethod
    def _warm_before_the_end(cls, warmup: int, info: ValidationInfo) -> int:
        rounds = info.data.get("rounds")
        if rounds is not None and warmup >= rounds:
            raise ValueError(f"leaves none of the {rounds} rounds; lower it.")
        return warmup


class ProtectionsConfig(Section):
    """Under which protections the same training is run and attacked."""

    names: Annotated[tuple[ProtectionName, ...], Field(strict=False)] = Field(
        default=USUAL,
        description="in the order of the report; of the default ones those that this "
        "federation cannot have are left out, and the page says why",
    )

    @field_validator("names", mode="before")
    @classmethod
    def _by_its_name(cls, names: object) -> object:
        for name in names if isinstance(names, list | tuple) else ():
            if isinstance(name, str) and name in RENAMED:
                raise ValueError(f'has "{name}", which is called "{RENAMED[name]}".')
        return names

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) != len(names):
            raise ValueError("must name at least one protection, and each once.")
        return names


class OutputConfig(Section):
    """Where the run is written."""

    out: str = Field(default="runs", description="folder that receives the run")


class Config(Section):
    """One run, complete: every key has a value."""

    name: str = Field(
        default="digits",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="of the run; letters, digits, dot, dash and underscore",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    repeats: int = Field(
        default=3, ge=1, le=1000, description="seeds seed .. seed + repeats - 1"
    )
    profile: Literal["quick", "standard", "full"] = Field(
        default="standard", description="scales the effort of the attacks, only"
    )
    data: DataConfig = DataConfig()
    federation: FederationConfig = Field(
        default=FederationConfig(), validate_default=True
    )
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    protections: ProtectionsConfig = ProtectionsConfig()
    he: HeConfig = HeConfig()
    privacy: PrivacyConfig = Field(default=PrivacyConfig(), validate_default=True)
    attacks: AttacksConfig = AttacksConfig()
    log: LogConfig = LogConfig()
    output: OutputConfig = OutputConfig()

    @field_validator("federation")
    @classmethod
    def _consistent(
        cls, federation: FederationConfig, info: ValidationInfo
    ) -> FederationConfig:
        # A field validator, not a model validator: pydantic runs it even when
        # another section is wrong, so that all problems are reported at once.
        data: DataConfig | None = info.data.get("data")
        problems: list[str] = []
        if data is not None and data.sites:
            federation, problems = _by_site(federation, len(data.sites))
        problems += _crowd_problems(federation)
        if problems:
            raise ValueError(" ".join(problems))
        return federation

    @field_validator("privacy")
    @classmethod
    def _unit(cls, privacy: PrivacyConfig, info: ValidationInfo) -> PrivacyConfig:
        data: DataConfig | None = info.data.get("data")
        return privacy if data is None else by_subject(privacy, data.subject)

    def resolved(self) -> dict[str, object]:
        """Return every key with its value, JSON-able, for the record.

        `Config.model_validate(config.resolved(), strict=False)` gives the config back.
        """
        return self.model_dump(mode="json")


def _by_site(
    federation: FederationConfig, sites: int
) -> tuple[FederationConfig, list[str]]:
    """Let data.sites imply the partition and the number of clients."""
    given = federation.model_fields_set
    problems = []
    if "partition" in given and federation.partition != "site":
        problems.append(
            f'partition = "{federation.partition}" contradicts data.sites; remove it.'
        )
    if "clients" in given and federation.clients != sites:
        problems.append(
            f"clients = {federation.clients} contradicts the {sites} data.sites; "
            f"remove it."
        )
    implied = {"partition": "site", "clients": sites}
    return federation.model_copy(update=implied), problems


def _crowd_problems(federation: FederationConfig) -> list[str]:
    """Check that the planned crowd is one that secure aggregation can serve."""
    problems = []
    n, corrupt, drop = federation.cohort, federation.corrupt, federation.drop
    who, need = "clients", federation.fewest
    if n < federation.clients:
        who, need = "clients x participation", ceil(need / federation.participation)
    if n < federation.fewest:
        problems.append(
            f"{who} = {n} less drop = {drop} less corrupt = {corrupt} leaves fewer "
            f"than {HONEST_MIN} honest inputs in a sum; lower drop + corrupt to "
            f"{max(n - HONEST_MIN, 0)} or less, or have at least {need} clients."
        )
    if federation.dropout > 0 and drop == 0:
        problems.append(
            f"dropout = {federation.dropout} lets clients vanish but drop = 0 plans "
            f"for none; set drop to at least 1, or dropout to 0."
        )
    elif federation.dropout * n > drop:
        problems.append(
            f"dropout = {federation.dropout} of {n} clients lets more of them vanish "
            f"in a round on average than drop = {drop} plans for; raise drop or lower "
            f"dropout."
        )
    return problems
