"""The section [he]: how much of an update is encrypted under `he-selective`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fl.section import Section


class HeConfig(Section):
    """Selective encryption: the most sensitive coordinates, and what becomes of others.

    Which they are follows from public things alone (`fl.sensitivity`).
    """

    fraction: float = Field(
        default=0.1,
        gt=0.0,
        lt=1.0,
        description="of the coordinates of an update that he-selective encrypts",
    )
    rest: Literal["masked", "plain"] = Field(
        default="masked",
        description="how he-selective sends the others: under pairwise masks, or open "
        "to the server, which saves most and tells what the page shows",
    )
