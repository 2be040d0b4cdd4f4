"""Whatever a user's own file holds, no public artefact, output or error repeats it.

Marker values that occur nowhere else stand in every kind of cell. After an audit all
that may be handed on is searched for them, as text and as the bytes of a number; then
each marker is put where it is refused, and the refusal is searched.
"""

from __future__ import annotations

import base64
import logging
import re
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

from fl.cli import BAD_INPUT, run

NUMBER, LABEL, NAME, TOKEN = 31337.125, 41414.5, "Zebedee-Quux", "token-wxyzzy"
EVERYTHING = '["none", "secagg", "he-bfv", "dp-sgd", "central-dp", "secagg+central-dp"]'
CONFIG = """
[data]
source = "own.csv"
label = "outcome"
positive = "> 40000"
missing = ["", "?"]
impute = "indicator+median"
bounds = {level = [0, 40000], dose = [-40000, 40000]}
drop = ["patient"]
categories = {ward = ["north", "south"]}

[federation]
clients = 5
participation = 1.0
corrupt = 1
drop = 1

[model]
kind = "mlp"
hidden = [4]

[training]
rounds = 2
batch_size = 8

[attacks]
victims = 2
iterations = 2
batches = [1]
canaries = 20
"""


def table(path: Path, *, records: int = 120) -> None:
    """Write a table with the markers in a few records of every column."""
    rng = np.random.default_rng(0)
    lines = ["patient,level,dose,ward,outcome"]
    for i in range(records):
        sick, marked = i % 2, i % 15 == 0
        level = NUMBER if marked else round(30 + 5 * sick + rng.normal(), 2)
        dose = "?" if i % 11 == 0 else -NUMBER if marked else round(rng.normal(), 3)
        ward = ("north", "south")[int(rng.integers(2))]
        lines.append(f"{NAME}-{i},{level},{dose},{ward},{LABEL if sick else 7}")
    path.write_text("\n".join(lines) + "\n")


def spellings(number: float) -> set[bytes]:
    """Return a number as it could stand in text, and in arrays and their base64."""
    whole = int(number)
    texts = {
        *(f"{number}", f"{number:.1f}", f"{number:.2f}", f"{number:e}", f"{whole}"),
        *(f"{number:g}", f"{whole:,}", f"{whole:,}".replace(",", "\u2009")),
    }
    packed = {struct.pack(order, number) for order in ("<f", "<d", ">f", ">d")}
    return {
        *(text.encode() for text in texts),
        *packed,
        *(base64.b64encode(one).rstrip(b"=") for one in packed),
    }


MARKERS = (
    *sorted(spellings(NUMBER) | spellings(LABEL)),
    NAME.encode(),
    TOKEN.encode(),
)


def found_in(content: bytes) -> list[bytes]:
    """Return the markers in it; digits count only where no other digit joins them."""
    return [m for m in MARKERS if m in content and _alone(m, content)]


def _alone(marker: bytes, content: bytes) -> bool:
    if not marker.isdigit():
        return True
    # A whole number may be part of a hash or of another number by chance.
    return bool(re.search(rb"(?<![0-9a-f.])" + marker + rb"(?![0-9a-f])", content))


def public(folder: Path) -> list[Path]:
    """Return every file of a run that is not for its owner alone."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "private" not in path.relative_to(folder).parts
        and stat.S_IMODE(path.stat().st_mode) != 0o600
    ]


@pytest.mark.parametrize("number", [NUMBER, LABEL, -NUMBER])
def test_the_search_finds_a_marker_however_it_is_written(number: float) -> None:
    array = np.array([1.0, abs(number)], dtype=np.float32)
    for content in (
        f'{{"level": {number}}}'.encode(),
        f"{abs(number):,.0f} of them".encode(),
        array.tobytes(),
        base64.b64encode(array.astype(np.float64)[1:].tobytes()),
    ):
        assert found_in(content)
    assert found_in(b"sha256 ab31337cd, 131337, 0.31337") == []


@pytest.mark.parametrize(
    "names",
    ['["none", "secagg"]', pytest.param(EVERYTHING, marks=pytest.mark.slow)],
    ids=["two", "all"],
)
def test_no_public_artefact_repeats_a_cell(
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "own.csv")
    (tmp_path / "own.toml").write_text(CONFIG)
    caplog.set_level(logging.DEBUG)
    arguments = ["audit", "own.toml", "--out=run", "--set=repeats=1"]
    arguments += ["--profile=quick", f"--set=protections.names={names}"]
    arguments += ["--allow-useless"]
    assert run(arguments) in (0, 3), capfd.readouterr().err
    said = capfd.readouterr()
    spoken = {"stdout": said.out, "stderr": said.err, "log": caplog.text}
    artefacts = {name: text.encode() for name, text in spoken.items()}
    for path in public(tmp_path / "run"):
        artefacts[str(path.relative_to(tmp_path))] = path.read_bytes()
    assert {"run/report.html", "run/report.json", "run/report.md"} <= set(artefacts)
    repeated = {name: found_in(content) for name, content in artefacts.items()}
    assert {name: found for name, found in repeated.items() if found} == {}
    models = list((tmp_path / "run").glob("model-*.npz"))
    assert models
    assert {stat.S_IMODE(path.stat().st_mode) for path in models} == {0o600}


HEADER = "patient,level,dose,ward,outcome"
RECORD = "{name},1.5,2.5,north,{label}"
FAULTS = {
    "text where a number is wanted": f"x,{TOKEN},1,north,7",
    "a number out of range": f"x,{NUMBER},1,north,7",
    "an undeclared category": f"x,1,1,{TOKEN},7",
    "a number as a category": f"x,1,1,{NUMBER},7",
    "a label that is no number": f"x,1,1,north,{TOKEN}",
    "a cell too many": f"{NAME},{NUMBER},1,north,{LABEL},{TOKEN}",
    "a cell too few": f"{NAME},{NUMBER},1,{TOKEN}",
    "an open quote": f'"{NAME},{NUMBER},1,north,{LABEL}',
    "a stray quote": f'"{NAME}"{TOKEN},{NUMBER},1,north,{LABEL}',
    "infinity": "x,inf,1,north,7",
}
SETS = {
    "labels that look like a quantity": ["--set=data.positive=> 99999"],
    "a category that is missing": ['--set=data.categories.ward=["east", "west"]'],
    "too few records": ["--set=federation.clients=400"],
    "no such column": ["--set=data.label=outcomes"],
}


def refused(
    folder: Path, lines: list[str], capfd: pytest.CaptureFixture[str], *sets: str
) -> None:
    """Run an audit that is refused; nothing that it says may hold a marker."""
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    (folder / "own.toml").write_text(CONFIG)
    assert run(["audit", "own.toml", "--out=run", "--quiet", *sets]) == BAD_INPUT
    said = capfd.readouterr()
    assert said.err.startswith("blindsum: ")
    assert found_in((said.out + said.err).encode()) == []
    assert not (folder / "run").exists()


def records() -> list[str]:
    return [
        RECORD.format(name=f"{NAME}-{i}", label=(LABEL, 7)[i % 2]) for i in range(40)
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_about_a_cell_quotes_it(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, [HEADER, *records(), FAULTS[fault]], capfd)


@pytest.mark.parametrize("fault", SETS)
def test_no_error_about_a_setting_quotes_a_cell(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, [HEADER, *records()], capfd, *SETS[fault])


def test_a_file_without_its_header_does_not_quote_its_first_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    first = f"{NAME},{NUMBER},1.5,north,{LABEL}"
    refused(tmp_path, [first, *records()], capfd)


def test_a_first_record_with_equal_cells_is_not_quoted_as_a_header(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, [f"{NAME},{NUMBER},{NUMBER},north,7", *records()], capfd)
