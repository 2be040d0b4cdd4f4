"""One reason why attacks on an observation may find nothing, as a value."""

from dataclasses import dataclass
from enum import StrEnum


class Trouble(StrEnum):
    """What kind of thing stands in the way."""

    GRADIENT = "gradient"
    MODE = "mode"
    BUFFERS = "buffers"
    BATCH = "batch"
    LAYER = "layer"
    STEPS = "steps"
    CLIENTS = "clients"
    RANGE = "range"
    KNOWLEDGE = "knowledge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason why attacks may fail.

    Args:
        trouble: of which kind.
        sentence: what is wrong, where, and the cure if there is one.
        fatal: whether no attack of this package can succeed because of it.
    """

    trouble: Trouble
    sentence: str
    fatal: bool = False
