"""What a model is that was trained elsewhere: the setting of a page without federation.

Everything here was given by whoever asked for the audit; how the model was trained is
not known, and the page says so. It does NOT measure anything.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fl.report.records import Count, Name, Record


class AuditedModel(Record):
    """One model that was trained elsewhere, and the records it is asked about.

    `dropped` records had a twin that made their membership unclear. `coins` says that
    whoever gave the records states that each was included by a fair coin of its own.
    `views` are the things that were given to attack. `parameters` and `input_shape` are
    null and empty where only the model's answers are known.
    """

    model: Name
    parameters: Count | None
    data: Name
    members: Annotated[int, Field(ge=1)]
    nonmembers: Annotated[int, Field(ge=1)]
    dropped: Count
    coins: bool
    input_shape: tuple[Annotated[int, Field(ge=1)], ...]
    classes: Count | None
    views: Annotated[tuple[Name, ...], Field(min_length=1)]
    sentence: Name
