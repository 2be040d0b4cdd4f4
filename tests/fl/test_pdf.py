"""The PDF is whole or not there, and every fault has one sentence with its cure."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from fl import pdf
from fl.pdf import BROWSER_VARIABLE, PdfError, find_browser, print_page
from fl.report import write
from tests.fl.page import fixture

MOST_PAGES = 12
PAGE = re.compile(rb"/Type\s*/Page\b")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with nothing but its page."""
    folder = tmp_path / "run of today"
    folder.mkdir()
    (folder / "report.html").write_text("<!DOCTYPE html><p>A page.</p>")
    return folder


def browser(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Name a made-up browser: a shell script that is given Chromium's arguments."""
    program = folder.parent / "browser"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv(BROWSER_VARIABLE, str(program))
    return program


PRINTS = """
for argument in "$@"; do
  case "$argument" in --print-to-pdf=*) printf '%s' "%PDF-1.4" > "${argument#*=}";; esac
done
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
"""


def test_a_printed_page_lies_whole_beside_the_html(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "report.pdf").write_text("an older one")
    program = browser(run, monkeypatch, PRINTS)
    target = print_page(run)
    assert target == run / "report.pdf"
    assert target.read_bytes() == b"%PDF-1.4"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert {p.name for p in run.iterdir()} == {"report.html", "report.pdf"}
    given = (program.parent / "arguments").read_text().splitlines()
    assert {"--headless", "--no-pdf-header-footer"} <= set(given)
    assert ("--no-sandbox" in given) is (os.geteuid() == 0)
    profile = next(a for a in given if a.startswith("--user-data-dir="))
    assert not Path(profile.partition("=")[2]).exists()
    assert given[-1] == (run / "report.html").as_uri()


def test_the_sandbox_stays_on_for_everybody_but_root(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = browser(run, monkeypatch, PRINTS)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    print_page(run)
    assert "--no-sandbox" not in (program.parent / "arguments").read_text()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 7", "status 7"),
        ("exit 0", "printed nothing"),
        (PRINTS.replace("%PDF-1.4", "<html>"), "printed nothing"),
        ("sleep 30", "within 0.2 s"),
    ],
)
def test_a_browser_that_fails_leaves_the_old_pdf(
    run: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    (run / "report.pdf").write_text("an older one")
    browser(run, monkeypatch, script)
    timeout_s = 0.2 if "sleep" in script else 20
    with pytest.raises(PdfError, match=words):
        print_page(run, timeout_s=timeout_s)
    assert (run / "report.pdf").read_text() == "an older one"
    assert {p.name for p in run.iterdir()} == {"report.html", "report.pdf"}


def test_no_browser_is_one_sentence_that_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BROWSER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PdfError, match=f"chromium-browser.*{BROWSER_VARIABLE}"):
        find_browser()


def test_a_named_browser_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BROWSER_VARIABLE, "/nowhere/chromium")
    with pytest.raises(PdfError, match="/nowhere/chromium"):
        find_browser()


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PdfError, match="finished audit"):
        print_page(tmp_path)


@pytest.mark.page
def test_chromium_prints_the_whole_matrix_on_few_pages(tmp_path: Path) -> None:
    try:
        pdf.find_browser()
    except PdfError:
        pytest.skip("Chromium is not installed")
    write(
        fixture.report(clients=9, violated=True, passed=False),
        folder=tmp_path,
        galleries=fixture.galleries(),
        curves=fixture.curves(),
        claims=fixture.claims(),
        private=False,
    )
    printed = print_page(tmp_path).read_bytes()
    assert 2 <= len(PAGE.findall(printed)) <= MOST_PAGES
