"""`python -m benchmarks simulate`, made small: its figures, and what it says."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks import __main__ as program
from benchmarks import first, nets, simulate
from benchmarks.peers import flower, loop
from benchmarks.peers.asking import Ask, MissingError
from benchmarks.work import Rounds, Work

ALWAYS = {
    "speedup_vs_loop_mlp",
    "overhead_ms_per_client",
    "first_round_s",
    "clients_200_rounds_2_s",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "QUICK", (1, 2))
    monkeypatch.setattr(nets, "NAMES", ("mlp",))
    monkeypatch.setattr(first, "CROWD", 200)
    monkeypatch.setattr(first, "CROWD_ROUNDS", 2)


def peer(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    """Let the peer called pfl be a function of ours."""

    @contextmanager
    def started() -> Iterator[Ask]:
        yield ask

    monkeypatch.setitem(simulate.PEERS, "pfl", started)


def test_the_last_line_holds_every_figure_as_valid_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer(monkeypatch, loop.run)
    arguments = ["benchmarks", "simulate", "--quick", "--peer", "pfl"]
    monkeypatch.setattr("sys.argv", arguments)
    assert program.main() == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["benchmark"] == "simulate"
    assert set(record) == {"benchmark", "machine", "commit", "figures"}
    wanted = {"speedup_vs_pfl_mlp", "speedup_vs_pfl_mlp_4_steps", "pfl_round_ms_mlp"}
    assert ALWAYS | wanted <= set(record["figures"])
    assert all(np.isfinite(value) for value in record["figures"].values())


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        program.as_json("simulate", {"speedup_vs_loop_mlp": float("nan")})


def test_a_peer_that_is_not_installed_is_said_and_has_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(first, "first_round_s", lambda: 1.0)
    figures = simulate.measure(True, ["flower"])
    said = "flower: no figure: not installed (pip install 'blindsum[flower]')."
    assert said in capsys.readouterr().out.splitlines()
    assert set(figures) >= ALWAYS
    assert not [name for name in figures if "flower" in name]


@pytest.mark.slow
def test_a_peer_that_fails_on_the_way_is_said_and_keeps_its_earlier_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(work: Work, rounds: int) -> Rounds:
        if work.rows.shape[1] > 2:
            raise MissingError("no answer within 240 s")
        return loop.run(work, rounds)

    peer(monkeypatch, ask)
    figures = simulate.measure(True, ["pfl"])
    said = "pfl: no figure from here on: no answer within 240 s."
    assert said in capsys.readouterr().out.splitlines()
    assert "speedup_vs_pfl_mlp" in figures
    assert "speedup_vs_pfl_mlp_4_steps" not in figures


def test_a_peer_that_trains_something_else_stops_the_benchmark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(work: Work, rounds: int) -> Rounds:
        found = loop.run(work, rounds)
        return Rounds(ms=found.ms, first=work.before, last=found.last)

    peer(monkeypatch, ask)
    with pytest.raises(RuntimeError, match="pfl's model differs by"):
        simulate.measure(True, ["pfl"])


def test_a_peer_that_ends_elsewhere_stops_the_benchmark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(work: Work, rounds: int) -> Rounds:
        found = loop.run(work, rounds)
        return Rounds(ms=found.ms, first=found.first, last=0 * found.last)

    monkeypatch.setattr(simulate, "QUICK", (5,))
    peer(monkeypatch, ask)
    with pytest.raises(RuntimeError, match="pfl's model names"):
        simulate.measure(True, ["pfl"])


def test_a_peer_that_is_not_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "faults", "--peer", "flower"])
    with pytest.raises(SystemExit):
        program.main()
    assert "faults has no peer flower" in capsys.readouterr().err


def test_flower_without_its_parts_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match="not installed"), flower.started(100):
        pass
