"""What a round of DP-SGD is, and what it takes in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from dp.sgd import DpSgd
from fl.errors import ModelError
from fl.local.engine import Engine, saved_bytes
from fl.local.members import Member
from fl.local.optimiser import Rule
from fl.local.units import people_of
from fl.models import parameter_count


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateRecipe:
    """One round's DP-SGD, the same for every client; all of it public.

    Attributes:
        steps: noisy steps, >= 1.
        mechanism: of each step.
        rule: how a step follows from its noisy gradient.
        most_records: the unit is the subject, and at most so many records of one are in
            a step; None where the unit is the record.
    """

    steps: int
    mechanism: DpSgd
    rule: Rule
    most_records: int | None = None

    def __post_init__(self) -> None:
        if self.most_records is not None and self.most_records < 1:
            raise ModelError(
                f"most_records = {self.most_records} leaves a subject no record; give "
                "at least 1."
            )


def bytes_of_a_record(
    model: nn.Module, engine: Engine, shape: tuple[int, ...], *, grouped: bool
) -> int:
    """Estimate what one sampled record takes: activations, and its gradient if made."""
    if engine.name == "loop":
        return 8 * parameter_count(model) + 1
    made = grouped or engine.name == "vmap" or any(engine.images)
    return 2 * saved_bytes(model, shape) + (8 * parameter_count(model) if made else 0)


def bytes_of_a_client(
    member: Member, recipe: PrivateRecipe, each: int, length: int
) -> int:
    """Estimate what one client of a stack takes, were its sample rather large."""
    units, places = member.records, 1
    if recipe.most_records is not None:
        counts = people_of(member).counts
        units = len(counts)
        places = min(recipe.most_records, int(counts.max(initial=1)))
    expected = recipe.mechanism.sampling_rate * units
    width = places * min(units, math.ceil(expected + 4 * math.sqrt(expected)))
    coins = 24 * recipe.steps * member.records
    records = member.record_bytes
    return records + coins + width * each + 20 * length
