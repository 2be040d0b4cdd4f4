"""The three files: self-contained, escaped, deterministic, whole or not there."""

from __future__ import annotations

import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fl.report import (
    Claim,
    ClaimError,
    DisclosureError,
    Report,
    Scenario,
    Verdict,
    Written,
    bounds,
    from_json,
    render,
    write,
)
from fl.report.cells import head_views
from fl.report.crowd import crowd_grid
from fl.report.judgement import guarantee, model
from fl.report.markdown import markdown
from fl.report.matrix import bands
from fl.report.page import page
from fl.report.wording import measure, metric_name, number, size
from tests.fl.page import fixture

HOSTILE = "<script>alert('x')</script>|`*]\n# h"


class Outline(HTMLParser):
    """Collects what a page would load, run and head."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.headings: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [
            values[k] or "" for k in ("src", "href", "srcset", "data") if k in values
        ]
        if "id" in values:
            self.ids.append(values["id"] or "")
        if tag == "img":
            self.images.append(values)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))


def wrote(
    folder: Path, report: Report | None = None, *, private: bool = False
) -> Written:
    return write(
        report or fixture.report(),
        folder=folder,
        galleries=fixture.galleries(),
        curves=fixture.curves(),
        claims=fixture.claims(),
        private=private,
    )


def html_of(report: Report) -> str:
    return page(
        report,
        galleries=fixture.galleries(),
        curves=fixture.curves(),
        claims=[c for c in fixture.claims() if c.protection in report.protections],
    )


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        wrote(tmp_path / name)
    for name in ("report.json", "report.html", "report.md"):
        first, second = tmp_path / "a" / name, tmp_path / "b" / name
        assert first.read_bytes() == second.read_bytes()


def test_json_on_disk_is_the_report(tmp_path: Path) -> None:
    assert from_json(wrote(tmp_path).json.read_text()) == fixture.report()


def test_the_page_loads_and_runs_nothing() -> None:
    html = html_of(fixture.report())
    outline = Outline(html)
    assert not {"script", "iframe", "object", "embed", "form"} & set(outline.tags)
    assert all(url.startswith(("data:", "#")) for url in outline.loads)
    assert not re.search(r"@import|url\(|https?://", html)
    assert " on" + "click=" not in html


def test_ids_are_unique_and_every_link_has_its_target() -> None:
    outline = Outline(html_of(fixture.report()))
    assert len(outline.ids) == len(set(outline.ids))
    anchors = {url[1:] for url in outline.loads if url.startswith("#")}
    assert anchors <= set(outline.ids)


def test_headings_never_skip_a_level_and_images_have_words() -> None:
    outline = Outline(html_of(fixture.report()))
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    for above, below in zip(outline.headings, outline.headings[1:], strict=False):
        assert below <= above + 1
    assert outline.images and all(image.get("alt") for image in outline.images)


def test_a_hostile_name_is_text_on_the_page_and_in_the_table() -> None:
    report = fixture.report(data=HOSTILE)
    html = html_of(report)
    assert "<script" not in html and "&lt;script&gt;" in html
    text = markdown(report)
    row = next(line for line in text.splitlines() if line.startswith("| data |"))
    assert (
        "<script" not in text.split("```json")[0]
        and re.sub(r"\\.", "", row).count("|") == 3
    )


def test_the_text_holds_the_whole_configuration() -> None:
    report = fixture.report(data="```\n# h")
    block = markdown(report).split("```json\n")[1].rsplit("\n```", 1)[0]
    assert json.loads(block) == report.manifest.config


def test_claims_never_appear_on_the_page_or_in_the_text(tmp_path: Path) -> None:
    files = wrote(tmp_path)
    body = re.sub(r"<style>.*?</style>", "", files.html.read_text(), flags=re.S)
    for text in (body, files.markdown.read_text()):
        assert not re.search(r"\b(safe|private|compliant)\b", text, re.IGNORECASE)


def test_the_answer_leads_both_texts(tmp_path: Path) -> None:
    files, report = wrote(tmp_path), fixture.report()
    html, text = files.html.read_text(), files.markdown.read_text()
    for sentence in report.answer:
        assert html.index(sentence) < html.index("Who learns what")
        assert text.index(sentence) < text.index("## ")


@pytest.mark.parametrize(("clients", "first"), [(9, True), (10, False)])
def test_a_small_federation_sees_its_crowd_first(clients: int, first: bool) -> None:
    report = fixture.report(clients=clients)
    html, text = html_of(report), markdown(report)
    assert (html.index('id="crowd"') < html.index('id="leakage"')) is first
    crowd, leakage = text.index("## How many hide"), text.index("## Who learns")
    assert (crowd < leakage) is first


def test_every_number_of_a_leakage_row_is_in_both_texts(tmp_path: Path) -> None:
    files = wrote(tmp_path)
    for text in (files.html.read_text(), files.markdown.read_text()):
        for row in fixture.report().leakage:
            if row.value is not None:
                assert measure(row.value, row.metric) in text
                assert metric_name(row.metric) in text


def test_a_failed_gate_stands_at_the_top() -> None:
    html = html_of(fixture.report(passed=False))
    assert html.index("1 of 3 gates failed") < html.index('id="leakage"')
    assert "gates failed" not in html_of(fixture.report())


def test_every_row_is_in_exactly_one_cell_of_its_own_scenario() -> None:
    report = fixture.report()
    placed = []
    for band in bands(report):
        for line in band.lines:
            for cell in line.cells:
                for row in cell.rows:
                    assert row.scenario is band.scenario
                    assert row.adversary == line.adversary
                    assert row.protection == cell.protection
                    placed.append(row)
    assert len(placed) == len(report.leakage)
    assert all(row in placed for row in report.leakage)


def test_a_cell_takes_the_verdict_of_its_worst_row() -> None:
    order = list(Verdict)
    for band in bands(fixture.report()):
        for line in band.lines:
            for cell in line.cells:
                worst = min(
                    (order.index(r.verdict) for r in cell.rows),
                    default=order.index(Verdict.NOT_MEASURED),
                )
                assert order.index(cell.verdict) == worst


def test_a_scenario_without_rows_says_so() -> None:
    report = fixture.report()
    rows = tuple(r for r in report.leakage if r.scenario is Scenario.AS_CONFIGURED)
    report = report.model_copy(update={"leakage": rows})
    assert "Nothing was measured in this scenario" in html_of(report)
    assert "Nothing was measured in this scenario" in markdown(report)


def test_an_empty_report_still_renders(tmp_path: Path) -> None:
    bare = json.loads(fixture.report().model_dump_json(by_alias=True))
    tables = ("utility", "privacy", "leakage", "crowd", "cost", "gates")
    more = ("ledger", "statements", "drill", "refused", "validity", "exposure")
    for table in (*tables, *more):
        bare[table] = []
    bare["not_covered"] = []
    bare["baselines"] = {"pooled": None, "local_only": None}
    report = from_json(json.dumps(bare))
    files = write(report, folder=tmp_path)
    assert "Not measured." in files.html.read_text()


def test_nothing_is_proven_where_no_rule_and_no_bound_was_given() -> None:
    html = page(fixture.report())
    section = html[html.index('id="proven-title"') :]
    none = section[: section.index("</article>")]
    assert "<h3>none</h3>" in none and "Nothing is proven" in none


def test_a_claim_for_an_unknown_protection_is_refused(tmp_path: Path) -> None:
    stray = Claim(protection="ckks", proven=("It holds.",), assumes=())
    with pytest.raises(ClaimError, match="'ckks'"):
        write(fixture.report(), folder=tmp_path, claims=(stray,))
    assert not list(tmp_path.iterdir())


def test_a_claim_that_says_too_much_is_refused() -> None:
    with pytest.raises(ClaimError, match="'safe'"):
        Claim(protection="none", proven=("The data are safe.",), assumes=())


def test_pictures_of_own_records_stay_off_the_page(tmp_path: Path) -> None:
    files = wrote(tmp_path, private=True)
    public = [files.html, files.json, files.markdown]
    assert all("image/png" not in f.read_text() for f in public)
    assert all(
        g.title not in f.read_text() for f in public for g in fixture.galleries()
    )
    assert files.pictures is not None
    assert "image/png" in files.pictures.read_text()
    assert stat.S_IMODE(files.pictures.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.pictures.parent.stat().st_mode) == 0o700


def test_pictures_of_user_data_are_refused_on_the_page(tmp_path: Path) -> None:
    report = fixture.report()
    source = report.manifest.data.model_copy(update={"origin": "user"})
    manifest = report.manifest.model_copy(update={"data": source})
    report = report.model_copy(update={"manifest": manifest})
    with pytest.raises(DisclosureError, match="private=True"):
        wrote(tmp_path, report, private=False)
    assert not list(tmp_path.iterdir())
    assert wrote(tmp_path, report, private=True).pictures is not None


def test_a_fault_half_way_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {p: p.read_bytes() for p in _files(wrote(tmp_path))}

    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("no text")

    monkeypatch.setattr(render, "markdown", fail)
    with pytest.raises(RuntimeError, match="no text"):
        wrote(tmp_path, fixture.report(clients=5))
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {p: p.read_bytes() for p in _files(wrote(tmp_path))}

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        wrote(tmp_path, fixture.report(clients=5))
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == old


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1e-5, "1e\u22125"),
        (0.00012, "0.00012"),
        (1437, "1\u2009437"),
        (123456.7, "123\u2009000"),
        (3.14159, "3.14"),
        (1e20, "1e20"),
        (-0.5, "\u22120.5"),
        (-12.0, "\u221212"),
    ],
)
def test_numbers_read_plainly(value: float | None, text: str) -> None:
    assert number(value) == text


def test_units_read_plainly() -> None:
    assert measure(0.9472, "accuracy") == "94.7 %"
    assert measure(38.14, "psnr_db") == "38.1 dB"
    assert measure(38.14, "PSNR (dB)") == "38.1 dB"
    assert metric_name("PSNR (dB)") == metric_name("psnr_db") == "PSNR"
    assert metric_name("tpr_at_fpr_0.01") == "TPR at 1 % FPR"
    assert [size(v) for v in (12, 24310, 5 * 2**20)] == ["12 B", "23.7 KiB", "5 MiB"]


def both_texts(report: Report) -> tuple[str, str]:
    return html_of(report), markdown(report)


def test_a_violation_stands_before_everything_else() -> None:
    for text in both_texts(fixture.report(violated=True)):
        assert text.index("VIOLATION") < text.index("Who learns what")
    for text in both_texts(fixture.report()):
        body = re.sub(r"<style>.*?</style>", "", text, flags=re.S)
        assert "VIOLATION" not in body


def test_every_violated_bound_is_named_with_both_its_numbers() -> None:
    (sentence,) = bounds.violations(fixture.report(violated=True))
    assert all(part in sentence for part in ("dp-sgd", "9.21", "7.94", "95 %"))


def test_a_violation_that_assumes_gaussian_noise_says_so() -> None:
    report = fixture.report(violated=True)
    (row,) = (row for row in report.privacy if row.violated)
    assumed = {"claimed": True, "epsilon_lower": 2.0, "epsilon_lower_gaussian": 9.5}
    shaped = report.model_copy(update={"privacy": (row.model_copy(update=assumed),)})
    (sentence,) = bounds.violations(shaped)
    assert "9.5" in sentence and "if its noise is Gaussian" in sentence
    (plain,) = bounds.violations(report)
    assert "Gaussian" not in plain


def test_a_drill_that_fails_with_its_noise_is_a_violation() -> None:
    row = fixture.drill()[0].model_copy(update={"epsilon_lower": 2.0, "violated": True})
    report = fixture.report().model_copy(update={"drill": (row,)})
    assert bounds.outcome(row) == ("VIOLATION", False)
    assert len(bounds.violations(report)) == 1


def test_the_drill_says_what_was_caught_and_what_was_missed() -> None:
    kept, left_out = fixture.drill()
    assert bounds.outcome(kept) == ("claim held", True)
    assert bounds.outcome(left_out) == ("caught", True)
    blind = left_out.model_copy(update={"epsilon_lower": 0.1, "violated": False})
    assert bounds.outcome(blind) == ("missed", False)


def test_bounds_keep_their_order_on_one_scale() -> None:
    _, views = bounds.bound_views(fixture.report(violated=True))
    broken, *others = views
    assert broken.upper and broken.lower and broken.ceiling
    at = [float(v.rstrip("%")) for v in (broken.upper, broken.lower, broken.ceiling)]
    assert at == sorted(at) and broken.violated
    assert not any(view.violated for view in others)


def test_a_hundred_clients_share_one_line_of_the_ledger() -> None:
    report = fixture.report()
    report = report.model_copy(update={"ledger": fixture.ledger(100)})
    line = bounds.ledger_views(report)[0]
    assert "100 clients: 4 to 7 releases, epsilon 6.1 to 7.94 of 8" in line.text
    assert len(line.rows) == 100
    for text in both_texts(report):
        assert line.text in text


def test_every_statement_and_every_refusal_is_in_both_texts() -> None:
    for text in both_texts(fixture.report()):
        assert all(sentence in text for sentence in fixture.STATEMENT)
    report = fixture.refusing()
    for text in both_texts(report):
        assert all(row.why in text for row in report.refused)
        assert "What cannot be had here" in text


def test_what_a_sum_of_few_gives_away_stands_in_its_cell() -> None:
    grid = crowd_grid(fixture.report(clients=9))
    assert grid is not None
    cells = [cell for _, row in grid.rows for cell in row]
    assert {"leaks", "not detected"} >= {c.verdict for c in cells if c.verdict}
    assert len(grid.measured) == sum(bool(cell.verdict) for cell in cells)
    for text in both_texts(fixture.report(clients=9)):
        assert all(cell.figure in text for cell in cells)


def test_an_epsilon_above_twenty_is_no_useful_guarantee() -> None:
    row = fixture.privacy()[3]
    for epsilon, judged in ((20.0, False), (20.01, True), (None, False)):
        given = row.model_copy(update={"epsilon_upper": epsilon})
        assert (guarantee(given) is not None) is judged


@pytest.mark.parametrize(
    ("low", "judged"), [(0.2, False), (0.1028, True), (0.05, True), (None, False)]
)
def test_a_model_no_better_than_one_class_is_no_useful_model(
    low: float | None, judged: bool
) -> None:
    row = fixture.report().utility[0].model_copy(update={"low": low})
    assert (model(row, 0.1028) is not None) is judged
    assert model(row, None) is None


def test_judgements_stand_in_the_matrix_and_in_both_texts() -> None:
    heads = {head.name: head for head in head_views(fixture.report())}
    assert [j.words for j in heads["central-dp"].judged] == [
        "no useful guarantee",
        "no useful model",
    ]
    assert heads["none"].judged == heads["dp-sgd"].judged == ()
    text = markdown(fixture.report())
    assert "central-dp (no useful guarantee, no useful model)" in text
    html = html_of(fixture.report())
    matrix = html[html.index('class="matrix"') : html.index("</thead>")]
    table = html[html.index('class="cards utility"') :]
    for part in (matrix, table[: table.index("</table>")]):
        assert "no useful guarantee" in part and "no useful model" in part


def test_drawings_have_words_for_those_who_cannot_see_them() -> None:
    html = html_of(fixture.report(violated=True))
    for drawing in re.findall(r"<svg[^>]*>", html):
        hidden = 'aria-hidden="true"' in drawing or 'class="beyond"' in drawing
        assert hidden or "aria-label" in drawing
    label = "dp-sgd: VIOLATION, epsilon at most 7.94 (proven), at least 9.21"
    assert label in html


def test_a_whole_page_stays_under_three_megabytes() -> None:
    assert len(html_of(fixture.report()).encode()) < 3 * 2**20


def _files(written: Written) -> tuple[Path, ...]:
    return (written.json, written.html, written.markdown)
