"""What whoever trained the model claims of it: epsilon, delta and the unit, in words.

    epsilon=8 delta=1e-5 unit=example [shape=gaussian]

Nothing here verifies a claim; it is shown as claimed, beside what was measured.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from fl.errors import ConfigError

Unit = Literal["example", "subject", "client"]
UNITS: tuple[str, ...] = get_args(Unit)
Shape = Literal["any", "gaussian"]
SHAPES: tuple[str, ...] = get_args(Shape)
KEYS = ("epsilon", "delta", "unit", "shape")
CURE = 'write --claimed "epsilon=8 delta=1e-5 unit=example"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claim of differential privacy that somebody else makes.

    Attributes:
        epsilon: at most this, positive.
        delta: in [0, 1).
        unit: whose presence it hides: one example, subject or client.
        shape: "gaussian" where the claim is of Gaussian noise without sampling, which
            lets an audit refute more; "any" is the bare pair of numbers.

    Raises:
        ConfigError: a number or the unit is none.
    """

    epsilon: float
    delta: float
    unit: Unit = "example"
    shape: Shape = "any"

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(
                f"claimed: epsilon={self.epsilon} must be positive and finite; {CURE}."
            )
        if not 0 <= self.delta < 1:
            raise ConfigError(
                f"claimed: delta={self.delta} must be at least 0 and below 1; {CURE}."
            )
        if self.unit not in UNITS:
            raise ConfigError(
                f"claimed: unit={self.unit} is none of {', '.join(UNITS)}; {CURE}."
            )
        if self.shape not in SHAPES:
            raise ConfigError(
                f"claimed: shape={self.shape} is none of {', '.join(SHAPES)}; {CURE}."
            )
        if self.shape == "gaussian" and self.delta == 0:
            raise ConfigError(
                "claimed: Gaussian noise has no finite epsilon at delta=0; give delta."
            )


def parse(text: str) -> Claimed:
    """Read "epsilon=8 delta=1e-5 unit=example"; commas may stand between.

    Raises:
        ConfigError: an unknown, repeated, missing or misshapen part.
    """
    found: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        key, equals, value = word.partition("=")
        if key not in KEYS or not equals:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}=?" if near else f"{CURE}."
            raise ConfigError(f"claimed: {word} is none of its parts; {hint}")
        if key in found:
            raise ConfigError(f"claimed: {key} is given twice; leave one of them out.")
        found[key] = value
    for key in ("epsilon", "delta"):
        if key not in found:
            raise ConfigError(f"claimed: {key} is missing; {CURE}.")
    return Claimed(
        epsilon=_number("epsilon", found["epsilon"]),
        delta=_number("delta", found["delta"]),
        unit=cast(Unit, found.get("unit", "example")),
        shape=cast(Shape, found.get("shape", "any")),
    )


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"claimed: {key}={text} is not a number; {CURE}.") from error
