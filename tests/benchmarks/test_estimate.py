"""`python -m benchmarks estimate`, made small: it checks bytes while it times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import estimate as bench
from secagg.invite import Step
from secagg.traffic import Traffic


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", ((20, 100),))
    monkeypatch.setattr(bench, "UNITS_S", 0.0)


def test_bytes_are_exact_and_every_step_has_a_ratio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = bench.measure(quick=True)
    assert figures["worst_bytes_error"] == 0
    assert figures["worst_error"] == figures["error_n20_m100"] > 0
    said = capsys.readouterr().out
    assert all(said.count(step) == 2 for step in Step) and said.count("in all") == 2


def test_a_formula_that_is_off_by_one_byte_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = bench.traffic

    def wrong(*given: object, **named: object) -> dict[Step, Traffic]:
        found = real(*given, **named)  # type: ignore[arg-type]
        found[Step.UNMASK] = replace(found[Step.UNMASK], up=found[Step.UNMASK].up + 1)
        return found

    monkeypatch.setattr(bench, "traffic", wrong)
    assert bench.measure(quick=True)["worst_bytes_error"] == 1
