"""A mutant: the package with one planted bug, and the tests that must see it.

A mutant replaces text in the files of ``secagg``.  Each old text stands exactly once in
its file, so that an entry that no longer fits the code is seen at once and never runs
against something else.  This module touches no file; ``workshop`` does.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Bug(StrEnum):
    """What kind of mistake is planted."""

    SIGN = "wrong sign or arithmetic"
    CHECK = "missing check"
    SWAP = "swapped roles, kinds or lists"
    REUSE = "reused key, nonce or randomness"
    BINDING = "binding dropped from a key, hash or signature"
    OFF_BY_ONE = "threshold or bound off by one"
    ORDER = "message accepted out of order"
    KEPT = "secret kept or shown"
    CHANCE = "probability or guarantee misstated"
    BIAS = "biased, lossy or unbounded encoding"
    BLAME = "fault swallowed, unbounded or misattributed"
    BLIND = "checker that does not look"


class StaleError(Exception):
    """An entry of the table no longer fits the code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in one file of ``secagg``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: Short, unique, in lower case with dashes.
        bug: What kind of mistake it is.
        edits: Usually one; more where a bug is only one if both sides have it.
        tests: Files below ``tests/secagg``, or single tests of theirs (``file::test``),
            the fewest that are expected to fail.
        consequence: What an adversary gains, or what goes wrong unseen.
        equivalent: Why no test can tell it from the original; it is then not counted.
    """

    name: str
    bug: Bug
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    consequence: str
    equivalent: str = ""

    @property
    def files(self) -> frozenset[str]:
        """The files that it changes."""
        return frozenset(edit.file for edit in self.edits)

    def applied(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Return the changed sources of ``files``.

        Args:
            sources: Text by file; all of ``files`` must be there.

        Raises:
            StaleError: An old text does not stand exactly once in its file, nothing is
                changed, or what comes out is no Python.
        """
        changed = {file: sources[file] for file in self.files}
        for edit in self.edits:
            times = changed[edit.file].count(edit.old)
            if times != 1 or edit.old == edit.new:
                raise StaleError(
                    f"{self.name}: the old text stands {times} times in "
                    f"secagg/{edit.file}, expected once; bring the table up to date."
                )
            changed[edit.file] = changed[edit.file].replace(edit.old, edit.new)
        for file, text in changed.items():
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise StaleError(
                    f"{self.name}: secagg/{file} is no Python any more: {error}."
                ) from error
        return changed


def mutant(
    name: str,
    bug: Bug,
    edit: tuple[str, str, str] | tuple[tuple[str, str, str], ...],
    tests: str,
    consequence: str,
    *,
    equivalent: str = "",
) -> Mutant:
    """Write an entry of the table.

    Args:
        name: As in ``Mutant``.
        bug: As in ``Mutant``.
        edit: (file, old, new), or several of them.
        tests: Names separated by blanks; ``masks`` stands for ``test_masks.py`` and
            ``he/summer::test_x`` for one test of ``he/test_summer.py``.
        consequence: As in ``Mutant``.
        equivalent: As in ``Mutant``.
    """
    first = edit[0]
    edits = (edit,) if isinstance(first, str) else edit
    return Mutant(
        name=name,
        bug=bug,
        edits=tuple(Edit(*one) for one in edits),
        tests=tuple(_path(test) for test in tests.split()),
        consequence=consequence,
        equivalent=equivalent,
    )


def _path(test: str) -> str:
    where, colons, one = test.partition("::")
    folder, slash, stem = where.rpartition("/")
    return f"{folder}{slash}test_{stem}.py{colons}{one}"
