"""The round benchmark: its tables come from real rounds, and a wrong mean stops it."""

import dataclasses

import pytest

from benchmarks import played as played_module
from benchmarks import round as round_
from benchmarks.played import name_of, play

TINY = round_.Sizes(
    length=50, clients={12: 1, 20: 1}, complete=(6, 4, 1), sparse=(12, 6)
)


def test_the_figures_that_the_issue_names_come_out(monkeypatch):
    monkeypatch.setattr(round_, "QUICK", TINY)
    figures = round_.measure(quick=True)
    wanted = {
        "client_cpu_ms_n12",
        "server_cpu_s_n12",
        "growth_exponent_client_cpu",
        "growth_exponent_server_cpu",
        "speedup_vs_flower",
        "speedup_vs_flower_k_regular",
    }
    assert wanted <= figures.keys()
    assert figures["speedup_vs_flower"] > 1


def test_a_mean_that_is_off_stops_the_benchmark(monkeypatch):
    plan = round_.secagg.plan(8, 1, 1, encoder=round_.ENCODER)

    def spoilt(*args, **more):
        played = play(*args, **more)
        return dataclasses.replace(played, mean=played.mean + 0.01)

    monkeypatch.setattr(round_, "play", spoilt)
    with pytest.raises(RuntimeError, match="off by"):
        round_._play(plan, 50, 1, 0)


def test_every_message_is_charged_to_a_step_and_counted():
    plan = round_.secagg.plan(6, 1, 1, graph="complete", encoder=round_.ENCODER)
    out = round_._play(plan, 50, 1, 0)
    steps = {step for _, step in out.cpu_s}
    assert steps == set(played_module.Step)
    assert set(out.bytes_up) == set(out.bytes_down) == steps
    assert all(seconds > 0 for seconds in out.cpu_s.values())
    assert out.survivors == {name_of(i) for i in range(1, 6)}
