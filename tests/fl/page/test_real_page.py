"""The page of a real, small audit in a real browser, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest

import fl.audit as audits
from fl.config import load_config
from fl.progress import Silent
from tests.fl.page.test_page import browser, opened, sync_api
from tests.fl.synthetic import write_mnist

__all__ = ["browser"]  # the fixture, used by name
pytestmark = pytest.mark.page

SMALL = (
    "data.limit=400",
    "training.rounds=3",
    "repeats=1",
    'protections.names=["none", "secagg", "secagg+central-dp"]',
    "attacks.canaries=60",
    "attacks.victims=4",
    "attacks.iterations=10",
    "attacks.batches=[1, 4]",
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> audits.AuditResult:
    return audits.run(
        load_config(None, SMALL),
        out=tmp_path_factory.mktemp("audit") / "run",
        force=False,
        progress=Silent(),
    )


@pytest.fixture(scope="module")
def url(audited: audits.AuditResult) -> str:
    return (audited.folder / "report.html").as_uri()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_real_page_opens_whole_and_silent(
    browser: sync_api.Browser, url: str, audited: audits.AuditResult, width: int
) -> None:
    session = opened(browser, url, (width, 800))
    page = session.page
    text = page.inner_text("body")
    for sentence in audited.report.answer:
        assert sentence in text
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = "[...document.images].map(i => i.complete && i.naturalWidth > 0)"
    decoded = page.evaluate(images)
    assert decoded and all(decoded)
    cell = page.locator("details.cell").first
    assert not cell.evaluate("node => node.open")
    cell.locator("summary").click()
    assert cell.evaluate("node => node.open")
    assert session.complaints == []
    page.close()


def test_the_real_page_opens_with_its_answer_in_sight(
    browser: sync_api.Browser, url: str
) -> None:
    page = opened(browser, url, (1280, 900)).page
    for paragraph in page.locator(".answer p").all():
        box = paragraph.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900
    page.close()


def test_the_page_of_somebodys_own_records_holds_no_picture(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    result = audits.run(
        load_config(
            None,
            [
                *SMALL,
                'protections.names=["none"]',
                f"data.folder={folder}",
                "data.path=mnist.npz",
                "attacks.victims=2",
                "attacks.batches=[1]",
            ],
        ),
        out=tmp_path / "run",
        force=False,
        progress=Silent(),
        only="inversion",
    )
    assert "data:image" not in (result.folder / "report.html").read_text()
    private = result.folder / "private"
    assert private.stat().st_mode & 0o777 == 0o700
    (pictures,) = private.iterdir()
    assert pictures.stat().st_mode & 0o777 == 0o600
    assert "data:image" in pictures.read_text()
