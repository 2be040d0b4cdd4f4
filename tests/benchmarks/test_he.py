"""`python -m benchmarks he`: every figure is there, and wrong means are noticed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import he, he_sides
from benchmarks.__main__ import as_json
from benchmarks.peers import nvflare_he, nvflare_he_path
from benchmarks.peers.asking import MissingError
from benchmarks.peers.sealing import Player, started
from benchmarks.sealed import (
    LARGE,
    SMALL,
    Bill,
    Work,
    load_bill,
    load_work,
    parameters,
    play,
    save,
    tensors,
)
from secagg.he.seal import reads_saved
from secagg.moduli import Scheme

NAMED = {"bytes_up_ratio", "client_speedup", "server_speedup"}
SHAPES = ((5, 3), (5,))


def work(clients: int = 3) -> Work:
    vectors = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32) / 20
    return Work(shapes=SHAPES, vectors=vectors, clients=clients)


@contextmanager
def here(python: str, module: str) -> Iterator[Player]:
    """Play in this process what `started` plays in another."""
    yield lambda work: play(work, nvflare_he_path.Path(work.shapes, work.clients))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    monkeypatch.setattr(he, "QUICK", he.Size(SHAPES, 3, 2, 1, ""))
    monkeypatch.setattr(he, "WARM", he.Size(SHAPES, 2, 1, 1, ""))
    monkeypatch.setattr(he, "started", here)


def test_the_models_are_those_that_the_figures_are_told_of() -> None:
    assert len(LARGE) == 22 and parameters(LARGE) == 5_852_106
    assert len(SMALL) == 12 and parameters(SMALL) == 1_015_946
    model = tensors(SHAPES, np.arange(20))
    assert [tensor.shape for tensor in model.values()] == list(SHAPES)
    assert np.concatenate([one.ravel() for one in model.values()]).tolist() == [
        *range(20)
    ]


def test_the_quick_run_has_every_figure_and_says_who_is_missing(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> str:
        raise MissingError("no registry")

    monkeypatch.setattr(nvflare_he, "python", missing)
    figures = he.measure(True, he.PEERS)
    assert figures.keys() >= NAMED
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    assert not any("nvflare" in name for name in figures)
    assert json.loads(as_json("he", figures))["figures"] == figures
    assert "nvflare: no figure: no registry." in capsys.readouterr().out


def test_a_wrong_mean_of_a_peer_stops_the_run(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = nvflare_he_path.Path.open

    def off(self: nvflare_he_path.Path, data: bytes) -> np.ndarray:
        return opened(self, data) + 1e-4

    monkeypatch.setattr(nvflare_he_path.Path, "open", off)
    with pytest.raises(RuntimeError, match="nvflare-path is off by"):
        he.measure(True, [he.PATH])


def test_a_mean_of_ours_that_is_not_exact_stops_the_run(small: None) -> None:
    kinds: list[dict[str, Any]] = [{}, {"rotate": True}]
    if reads_saved():
        kinds.append({"scheme": Scheme.COMPACT})
    for kind in kinds:
        side = he_sides.Encrypted(work(), **kind)
        mean = play(work(), side).mean
        side.check(mean)
        with pytest.raises(RuntimeError, match="not that of the encrypted integers"):
            side.check(np.nextafter(mean, 1.0))


def test_an_approximate_mean_of_ours_beyond_its_bound_stops_the_run(
    small: None,
) -> None:
    side = he_sides.Approximate(work())
    mean = play(work(), side).mean
    side.check(mean)
    with pytest.raises(RuntimeError, match="approximate mean is off by"):
        side.check(mean + 1e-6)


def test_work_and_bills_cross_a_border_unchanged(tmp_path: Path) -> None:
    bill = Bill(
        upload_s=np.ones((2, 2)),
        server_s=np.ones(2),
        download_s=np.zeros(2),
        bytes_up=3,
        bytes_down=4,
        mean=np.arange(20.0),
    )
    save(tmp_path / "work.npz", work())
    save(tmp_path / "bill.npz", bill)
    asked, given = load_work(tmp_path / "work.npz"), load_bill(tmp_path / "bill.npz")
    assert (asked.shapes, asked.clients) == (SHAPES, 3)
    assert np.array_equal(asked.vectors, work().vectors)
    assert (given.bytes_up, given.bytes_down) == (3, 4)
    assert np.array_equal(given.mean, bill.mean)


@pytest.mark.slow
def test_nvflare_s_own_filters_give_the_mean() -> None:
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    try:
        python = nvflare_he.python()
    except MissingError as why:
        pytest.skip(f"NVFlare: {why}")
    with started(python, he.MODULES[he.FILTERS]) as player:
        bill = player(work())
    assert np.abs(bill.mean - work().mean()).max() < he.PEER_TOLERANCE
    assert bill.bytes_up > 1000 * 20
