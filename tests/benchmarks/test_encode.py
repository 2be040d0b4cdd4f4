"""`python -m benchmarks encode`, made small: it checks what it times."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import encode as bench
from benchmarks.peers import flower_quantize
from benchmarks.peers.asking import MissingError
from secagg import encode


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", (3000,))
    monkeypatch.setattr(bench, "SIZES", (3000, 5000))
    monkeypatch.setattr(bench, "QUICK_VALUES", 1 << 12)


def test_every_figure_is_finite_and_positive(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = bench.measure(quick=True)
    named = {"million_params_per_second_plain", "million_params_per_second_rotated"}
    named |= {"rotation_error_gain_8bit", "upload_bytes_per_param"}
    assert named <= set(figures)
    assert figures.pop("rotated_values_cut") == 0
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    assert "flower" in capsys.readouterr().out


def test_an_encoder_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = encode.encode

    def wrong(*given: object, **named: object) -> encode.RingVector:
        words = real(*given, **named)  # type: ignore[arg-type]
        words[0] += 100
        return words

    monkeypatch.setattr(encode, "encode", wrong)
    with pytest.raises(RuntimeError, match="plain: off by"):
        bench.measure(quick=True, peers=())


def test_a_peer_that_is_missing_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(vector: np.ndarray, *, bits: int) -> None:
        raise MissingError("not installed")

    monkeypatch.setattr(flower_quantize, "job", missing)
    figures = bench.measure(quick=True)
    assert "speedup_vs_flower_quantize" not in figures
    assert "flower is missing: not installed" in capsys.readouterr().out
