"""What can happen to a row between two reports, and two tables side by side.

It does NOT judge which of two numbers is the better one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from pydantic import JsonValue

from fl.report import Report
from fl.report.wording import NONE

Row = TypeVar("Row")
Key = TypeVar("Key", bound=Hashable)


class Change(StrEnum):
    """What happened to a row between the two reports, in the order of the list."""

    WORSE = "worse"
    BETTER = "better"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that changed; `old` and `new` are its numbers with their intervals."""

    change: Change
    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that differs, so that the reader knows what was compared."""

    key: str
    old: str
    new: str


def apart(below: float | None, above: float | None) -> bool:
    """Say whether one interval ends below where the other begins."""
    return below is not None and above is not None and below < above


def paired(
    old: Mapping[Key, Row], new: Mapping[Key, Row]
) -> Iterator[tuple[Key, Row | None, Row | None]]:
    """Yield every key once with what each side has for it, in the old one's order."""
    for key in dict.fromkeys([*old, *new]):
        yield key, old.get(key), new.get(key)


def settings(old: Report, new: Report) -> Iterator[Setting]:
    """Yield every setting that differs: version, seed, data and configuration."""
    flat = [
        {
            "version": one.manifest.version,
            "seed": str(one.manifest.seed),
            "data sha256": str(one.manifest.data.sha256),
            **dict(_flat("", one.manifest.config)),
        }
        for one in (old, new)
    ]
    for key, before, after in paired(*flat):
        if before != after:
            yield Setting(key, before or NONE, after or NONE)


def _flat(prefix: str, value: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """List nested settings as section.key."""
    for key, one in value.items():
        if isinstance(one, dict):
            yield from _flat(f"{prefix}{key}.", one)
        else:
            yield f"{prefix}{key}", str(one)
