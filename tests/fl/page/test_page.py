"""The page in a real browser: readable, complete and silent, wide and narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from fl.report import write
from tests.fl.page import fixture

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = [(1280, 800), (820, 1100), (400, 800)]
Scheme = Literal["light", "dark"]
WCAG_AA, WCAG_AA_LARGE = 4.5, 3.0  # WCAG 2.2, success criterion 1.4.3
pytestmark = pytest.mark.page

REQUIRED = os.environ.get("CI") == "true"

if not CHROMIUM.exists() and not REQUIRED:
    pytest.skip(f"{CHROMIUM} is not installed", allow_module_level=True)
try:
    from playwright import sync_api
except ModuleNotFoundError:
    if REQUIRED:
        raise
    pytest.skip("playwright is not installed", allow_module_level=True)

# Every text on the page with its contrast against the nearest opaque background.
CONTRASTS = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const ink = canvas.getContext('2d', {willReadFrequently: true});
  const bytes = (colour) => {
    ink.clearRect(0, 0, 1, 1);
    ink.fillStyle = colour;
    ink.fillRect(0, 0, 1, 1);
    return [...ink.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const rgba = bytes(getComputedStyle(at).backgroundColor);
      if (rgba[3] === 255) return rgba;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const node of document.body.querySelectorAll('*')) {
    const own = [...node.childNodes]
      .filter(c => c.nodeType === 3).map(c => c.data.trim()).join('');
    if (!own || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const front = node.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [light(bytes(front)), light(behind(node))].sort((p, q) => q - p);
    const px = parseFloat(style.fontSize);
    const large = px >= 24 || (px >= 18.66 && parseInt(style.fontWeight) >= 700);
    found.push([(a + 0.05) / (b + 0.05), large, node.className.toString(), own]);
  }
  return found;
}"""


@dataclass
class Session:
    """An open page and everything it complained about."""

    page: sync_api.Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    files = write(
        fixture.report(clients=9, passed=False, violated=True),
        folder=tmp_path_factory.mktemp("report"),
        galleries=fixture.galleries(),
        curves=fixture.curves(),
        claims=fixture.claims(),
        private=False,
    )
    return files.html.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


def opened(
    browser: sync_api.Browser,
    url: str,
    screen: tuple[int, int],
    scheme: Scheme = "light",
) -> Session:
    page = browser.new_page(
        viewport={"width": screen[0], "height": screen[1]}, color_scheme=scheme
    )
    session = Session(page)

    def note(request: sync_api.Request) -> None:
        if not request.url.startswith(("data:", url)):
            session.complaints.append(f"loads {request.url}")

    page.on("console", lambda message: session.complaints.append(message.text))
    page.on("pageerror", lambda error: session.complaints.append(str(error)))
    page.on("requestfailed", lambda request: session.complaints.append(request.url))
    page.on("request", note)
    page.goto(url)
    return session


@pytest.fixture(params=SCREENS, ids=lambda s: f"{s[0]}px")
def session(
    browser: sync_api.Browser, report_url: str, request: pytest.FixtureRequest
) -> Iterator[Session]:
    opened_session = opened(browser, report_url, request.param)
    yield opened_session
    opened_session.page.close()


def test_the_page_is_silent_and_loads_nothing(session: Session) -> None:
    session.page.wait_for_load_state("networkidle")
    assert session.complaints == []


def test_the_page_never_scrolls_sideways(session: Session) -> None:
    def overflow() -> int:
        return int(
            session.page.evaluate(
                "document.documentElement.scrollWidth - window.innerWidth"
            )
        )

    assert overflow() <= 0
    session.page.evaluate(
        "document.querySelectorAll('details').forEach(d=>d.open=true)"
    )
    assert overflow() <= 0


def test_the_answer_is_above_the_fold(session: Session) -> None:
    for paragraph in session.page.locator(".answer p").all():
        box = paragraph.bounding_box()
        height = session.page.evaluate("window.innerHeight")
        assert box is not None and box["y"] >= 0
        assert box["y"] + box["height"] <= height


def test_a_cell_opens_on_a_click_and_by_keyboard(session: Session) -> None:
    cell = session.page.locator("td.v-leaks details.cell").first
    inside = cell.locator(".rows dl").first
    assert not inside.is_visible()
    cell.locator("summary").click()
    assert inside.is_visible()
    terms = cell.locator(".rows dt").all_inner_texts()
    assert {"confidence", "n", "failed", "seeds", "time"} <= set(terms)
    cell.locator("summary").press("Enter")
    assert not inside.is_visible()


def test_every_image_is_decoded_and_sharp(session: Session) -> None:
    images = session.page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth,"
        " getComputedStyle(i).imageRendering])"
    )
    assert len(images) == sum(3 * len(g.originals) for g in fixture.galleries())
    assert all(done and width > 0 for done, width, _ in images)
    assert {rendering for _, _, rendering in images} == {"pixelated"}


def test_text_in_a_plot_stays_readable(session: Session) -> None:
    heights = session.page.evaluate(
        "[...document.querySelectorAll('.plot > svg .ticks text')].map("
        "t => parseFloat(getComputedStyle(t).fontSize)"
        " * t.getScreenCTM().d)"
    )
    assert heights and min(heights) >= 10.5


def test_nothing_clips_a_verdict(session: Session) -> None:
    clipped = session.page.evaluate(
        "[...document.querySelectorAll('.matrix td')].filter("
        "td => td.scrollWidth > td.clientWidth + 1).length"
    )
    assert clipped == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS, ids=lambda s: f"{s[0]}px")
def test_every_text_has_enough_contrast(
    browser: sync_api.Browser, report_url: str, screen: tuple[int, int], scheme: Scheme
) -> None:
    page = opened(browser, report_url, screen, scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    measured = page.evaluate(CONTRASTS)
    page.close()
    assert len(measured) > 200
    for word in ("recovered", "leaks", "not detected", "prevented", "not measured"):
        assert any(text == word for *_, text in measured)
    poor = [
        (round(ratio, 2), name, text)
        for ratio, large, name, text in measured
        if ratio < (WCAG_AA_LARGE if large else WCAG_AA)
    ]
    assert poor == []


def test_six_columns_fit_a_laptop_without_scrolling(
    browser: sync_api.Browser, report_url: str
) -> None:
    page = opened(browser, report_url, (1280, 800)).page
    hidden = page.evaluate(
        "[...document.querySelectorAll('.scroll.wide')].map("
        "s => s.scrollWidth - s.clientWidth)"
    )
    assert len(hidden) == 2 and max(hidden) <= 0
    heads = page.locator(".matrix thead th").all_inner_texts()
    assert [h.split("\n")[0] for h in heads[1:7]] == list(fixture.PROTECTIONS)
    page.close()


def test_a_violation_and_judgements_are_words_not_only_colours(
    browser: sync_api.Browser, report_url: str
) -> None:
    page = opened(browser, report_url, (400, 800)).page
    assert "VIOLATION" in page.locator(".violation").inner_text()
    assert "VIOLATION" in page.locator("#epsilon tr.violated").inner_text()
    judged = page.locator("#utility .judged").all_inner_texts()
    assert {text.strip() for text in judged} == {
        "no useful guarantee",
        "no useful model",
    }
    page.close()


def test_the_crowd_comes_first_and_says_what_was_found_in_each_sum(
    browser: sync_api.Browser, report_url: str
) -> None:
    page = opened(browser, report_url, (1280, 800)).page
    tops = [
        page.locator(anchor).bounding_box()
        for anchor in ("#answer", "#crowd", "#leakage")
    ]
    ys = [box["y"] for box in tops if box is not None]
    assert len(ys) == 3 and ys == sorted(ys)
    first = page.locator(".crowd td").first.inner_text()
    assert "9" in first and "not detected" in first and "PSNR" in first
    page.close()


def test_print_holds_every_number_that_is_folded_on_screen(
    browser: sync_api.Browser, report_url: str
) -> None:
    page = opened(browser, report_url, (688, 1000)).page
    page.emulate_media(media="print")
    table = page.locator("details.every table")
    assert table.is_visible()
    assert table.locator("tbody tr").count() == len(fixture.leakage())
    assert page.locator("#manifest pre").first.is_visible()
    assert not page.locator(".plot details table").first.is_visible()
    over = "document.documentElement.scrollWidth - window.innerWidth"
    assert page.evaluate(over) <= 0
    page.close()
