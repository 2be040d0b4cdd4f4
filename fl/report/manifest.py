"""What is needed to run an audit again: versions, seeds, configuration, machine, data.

It does NOT collect them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fl.report.records import Amount, FiniteJson, Name, Record


class Machine(Record):
    """Where it ran."""

    cpu: Name
    cores: Annotated[int, Field(ge=1)]
    python: Name
    torch: Name | None


class DataSource(Record):
    """Where the records came from and the hash of what was read."""

    origin: Literal["built-in", "user"]
    provenance: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Manifest(Record):
    """All that is needed to run it again.

    `simulation` says that what was audited ran here, with randomness from a seed; it
    is null for a model that was trained elsewhere.
    """

    run: Name
    version: Name
    commit: Name | None
    seed: int
    seeds: dict[str, int]
    config: dict[str, FiniteJson]
    started_utc: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    seconds: Amount
    machine: Machine
    simulation: Literal[True] | None
    data: DataSource
    packages: dict[str, str]
