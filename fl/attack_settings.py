"""The [attacks] section: which attacks run, and how hard they try."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from fl.section import Section, Size

# The attacks of `attacks.membership.federated.registry`, and those of
# `fl.membership.federated` that stand apart; a test keeps the two alike.
FederatedName = Literal[
    "gradient-cosine",
    "gradient-difference",
    "loss-series",
    "matched-filter",
    "fedmia",
    "fedmia-cosine",
    "fedmia-difference",
    "fedmia-published",
    "fedmia-cosine-published",
    "nasr-passive",
    "nasr-active",
    "source-inference",
]

# The attacks of `attacks.membership.registry`; a test keeps the two alike.
MembershipName = Literal[
    "loss",
    "confidence",
    "entropy",
    "modified-entropy",
    "calibrated",
    "shadow-classifier",
    "lira",
    "lira-shrunk",
    "lira-fixed",
    "lira-own",
    "lira-offline",
    "bavaria",
    "base",
    "rmia",
    "rmia-offline",
    "quantile",
    "label-only",
    "trajectory",
]


class AttacksConfig(Section):
    """How hard the attacks try; `profile` scales these."""

    victims: int = Field(
        default=16, ge=1, description="records or updates attacked per seed"
    )
    shadows: int = Field(
        default=16, ge=16, description="shadow models of membership inference"
    )
    membership: Annotated[tuple[MembershipName, ...], Field(strict=False)] = Field(
        default=("loss", "lira", "rmia"),
        description="attacks that tell members of the released model from others",
    )
    iterations: int = Field(
        default=200, ge=1, description="optimiser steps of gradient matching"
    )
    batches: Annotated[tuple[Size, ...], Field(strict=False)] = Field(
        default=(1, 4, 16, 64),
        description="batch sizes of the worst-case scenario",
    )
    core_seconds: float = Field(
        default=600.0,
        gt=0.0,
        description="what gradient matching, shadow models or the worst case's rounds "
        "may each cost under a protection, by estimate; more is left out, and said",
    )
    federated: Annotated[tuple[FederatedName, ...], Field(strict=False)] = Field(
        default=("fedmia-cosine", "matched-filter"),
        description="membership attacks on every client's update, on sums and on "
        "the released model: " + ", ".join(get_args(FederatedName)),
    )
    canaries: int = Field(
        default=200,
        ge=20,
        le=1500,
        description="made-up members by which the noise of a mechanism is measured",
    )
    attributes: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="columns of a table, of 2 to 10 values, that an attacker who knows "
        "the rest of a record infers from the model",
    )
    property: str = Field(
        default="",
        description='"column", "column=category" or "label=class": whether the records '
        "of a batch have it is inferred from updates in the worst case",
    )

    @field_validator("federated")
    @classmethod
    def _none_twice(cls, names: tuple[FederatedName, ...]) -> tuple[FederatedName, ...]:
        if len(set(names)) != len(names):
            raise ValueError("must name each attack once.")
        return names

    @field_validator("membership")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) != len(names):
            raise ValueError("must name at least one attack, and each once.")
        return names
