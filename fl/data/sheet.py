"""Read one .csv file as text: a line of column names, then records of equal length.

RFC 4180 with UTF-8 and stripped cells. What a cell means is `fl.data.csv_files`'s
affair.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from fl.data.cells import number_in
from fl.data.files import provenance_of, read_bytes
from fl.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One file, as text.

    Attributes:
        file: its name, for errors.
        header: the columns' names, stripped.
        rows: stripped cells of each record.
        lines: the line on which each record ends.
        provenance: file name and digest.
    """

    file: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    provenance: str

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        position = self.header.index(name)
        return [row[position] for row in self.rows]

    def at(self, row: int, name: str) -> str:
        """Return where a cell is: file, line and column."""
        return f"{self.file}, line {self.lines[row]}, column {name}"


def read_sheet(path: Path, key: str) -> Sheet:
    """Read one .csv file as text and check its shape.

    Args:
        path: the file.
        key: the configuration key that named it.

    Raises:
        DataError: it is empty, ragged, not UTF-8, or its header is unusable.
    """
    content = read_bytes(path, key)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    try:
        for raw in reader:
            if raw:  # a blank line is no record
                rows.append(tuple(cell.strip() for cell in raw))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{path.name}, line {reader.line_num}: not comma-separated text ({error}); "
            f"correct that line."
        ) from error
    if len(rows) < 2:
        raise DataError(
            f"{path.name} has no records; want a line of column names, then records."
        )
    _check_header(path.name, rows[0])
    for cells, line in zip(rows, lines, strict=True):
        if len(cells) != len(rows[0]):
            raise DataError(
                f"{path.name}, line {line}: {len(cells)} cells where the header has "
                f"{len(rows[0])}; correct that line."
            )
    return Sheet(
        file=path.name,
        header=rows[0],
        rows=tuple(rows[1:]),
        lines=tuple(lines[1:]),
        provenance=provenance_of(path, content),
    )


def _check_header(file: str, header: tuple[str, ...]) -> None:
    # A first line that holds a number is a record, whose cells no error may quote.
    if any(number_in(cell) is not None for cell in header):
        raise DataError(
            f"{file}, line 1: it holds a number, so it does not look like column "
            f"names; the first line must name the columns."
        )
    for position, name in enumerate(header):
        if not name:
            raise DataError(
                f"{file}, line 1: column {position + 1} has no name; give it one."
            )
        if name in header[:position]:
            raise DataError(
                f"{file}, line 1: columns {header.index(name) + 1} and {position + 1} "
                f"have the same name; rename one."
            )
