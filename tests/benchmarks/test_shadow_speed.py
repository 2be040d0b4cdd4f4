"""The shadow models' benchmark: everybody trains the same models, or it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import shadow_speed
from benchmarks.shadow_speed import CASES, Case, Same

TINY = Case(name="tiny", widths=(6, 4, 3), batch=4, records=8, epochs=2)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_speed, "MODELS", 8)
    monkeypatch.setattr(shadow_speed, "CASES", (TINY,))


def test_each_record_is_in_exactly_half_of_the_models() -> None:
    assert set(Same(TINY).members.sum(axis=0)) == {4}


def test_every_way_of_training_has_its_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow_speed, "THREADS", (1, 1 << 20))
    figures = shadow_speed.measure(quick=False)
    assert not [name for name in figures if name.endswith("_threads")]
    for end in ("", "_vs_optim"):
        assert figures[f"speedup_tiny{end}"] > 0
        assert figures[f"speedup_cpu_tiny{end}"] > 0
    named = {case.name for case in CASES}
    assert {"shadow_mlp_small", "shadow_mlp_600", "logreg"} <= named


def test_models_that_were_trained_otherwise_get_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(same: Same) -> np.ndarray:
        recipe = replace(same.trainer.recipe, epochs=1)
        return replace(same.trainer, recipe=recipe).train(same.members, seed=0)

    monkeypatch.setitem(shadow_speed.WAYS, "ours", other)
    with pytest.raises(RuntimeError, match="from ours"):
        shadow_speed.measure(quick=True)
    found = np.zeros((64, 3), dtype=np.float32)
    monkeypatch.setattr(shadow_speed, "MODELS", 64)
    unlucky = found.copy()
    unlucky[:8, 0] = 1e-3  # a ReLU on the other side, in one model of eight
    assert shadow_speed._gap("loop", unlucky, found) == 0
    for count, value in ((9, 1e-3), (1, 0.1)):
        wrong = found.copy()
        wrong[:count, 0] = value
        with pytest.raises(RuntimeError, match="from ours"):
            shadow_speed._gap("loop", wrong, found)
