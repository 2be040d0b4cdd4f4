"""What every section of the configuration shares: strictness and value types.

Values are checked by strict types (`true` is no number, `"3"` is no integer), and an
unknown key is an error. The sections themselves are in `fl.settings` and
`fl.data.settings`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo


def _as_token(cell: object) -> object:
    """Let people write the token -9 as a number; cells are compared as text."""
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return str(cell) if is_number else cell


Token = Annotated[str, BeforeValidator(_as_token)]
# TOML arrays arrive as lists; strict mode would refuse them for a tuple.
Tokens = Annotated[tuple[Token, ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Interval = Annotated[tuple[float, float], Field(strict=False)]
Size = Annotated[int, Field(ge=1, le=65536)]


def momentum_is_of_sgd(momentum: float, info: ValidationInfo) -> float:
    """Refuse momentum under adam; a validator of a section that has both keys.

    Raises:
        ValueError: which pydantic turns into a line about the key.
    """
    if momentum and info.data.get("optimizer") == "adam":
        raise ValueError('is of sgd; remove it, or set optimizer = "sgd".')
    return momentum


class Section(BaseModel):
    """Frozen, strict, and closed: an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False
    )
