"""Choosing an epsilon by trial: what it costs, when it stops, and who pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dp
from fl import choose, cli_choose
from fl.cli import run as command
from fl.config import Config
from fl.errors import ConfigError, DataError, UserError
from fl.federation import Federation
from fl.ledgers import ALL_RUNS
from tests.fl import tiny

GRID = (8.0, 2.0)
TINY = [f"--set={one}" for one in (*tiny.TINY, "training.rounds=1")]
PRIVATE = replace(tiny.dataset(), builtin=False)


def settings(*sets: str) -> Config:
    return tiny.config("training.rounds=1", *sets)


def federation(config: Config) -> Federation:
    return choose.deal(PRIVATE, config, choose.planned(config, "dp-sgd", GRID))


def shared(path: Path) -> dp.Ledger:
    budget = dp.Budget(epsilon=9.0, delta=1e-5)
    return dp.Ledger(budget, unit="example", path=path, book=ALL_RUNS)


def test_the_cost_is_that_of_the_whole_grid_wherever_the_search_stops() -> None:
    config = settings()
    trials = choose.planned(config, "dp-sgd", GRID)
    assert [one.epsilon for one in trials] == [2.0, 8.0]
    both = choose.cost(trials)
    assert 8.0 < both < 10.0
    wanted = dp.composed_epsilon([(one.event, one.releases) for one in trials], 1e-5)
    assert both == wanted
    assert choose.cost(trials[:1]) <= 2.0
    assert choose.cost(trials, trials[1]) > both


@pytest.mark.parametrize(("target", "made"), [(0.0, [2.0]), (1.1, [2.0, 8.0])])
def test_the_least_that_is_good_enough_ends_the_search(
    target: float, made: list[float]
) -> None:
    config = settings()
    trials = choose.planned(config, "dp-sgd", GRID)
    found = list(choose.tried(trials, federation(config), config, target))
    assert [one.trial.epsilon for one in found] == made
    held_out = len(federation(config).held_out.ids)
    assert all(0 <= one.right <= one.of == held_out for one in found)


def test_no_two_trials_share_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    real = choose.train

    def train(*given: Any, seed: int, **keys: Any) -> Any:
        seeds.append(seed)
        return real(*given, seed=seed, **keys)

    monkeypatch.setattr(choose, "train", train)
    config = settings()
    trials = choose.planned(config, "dp-sgd", GRID)
    list(choose.tried(trials, federation(config), config, 1.1))
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    ("name", "grid", "says"),
    [
        ("secagg", GRID, "not chosen by trial"),
        ("dp-ftrl", GRID, "not chosen by trial"),
        ("dp-sgd", (), "empty"),
        ("dp-sgd", (0.0,), "must be in"),
        ("dp-sgd", (float("nan"),), "must be in"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    name: str, grid: tuple[float, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        choose.planned(settings(), name, grid)


def test_persons_at_more_sites_than_declared_are_refused_before_any_trial() -> None:
    whose = ("data.source=made_up.npz", "data.subject=who", "federation.partition=site")
    config = settings(*whose)
    raw = replace(
        PRIVATE,
        sites=np.arange(120, dtype=np.int64) % 5,
        site_names=tuple("abcde"),
        subjects=np.arange(120, dtype=np.int64) // 2,
    )
    trials = choose.planned(config, "dp-sgd", (2.0,))
    with pytest.raises(DataError, match="records at 2 sites"):
        choose.deal(raw, config, trials)
    config = settings(*whose, "privacy.example.max_sites_per_subject=2")
    trials = choose.planned(config, "dp-sgd", (2.0,))
    assert {one.releases for one in trials} == {2}
    assert len(choose.deal(raw, config, trials).clients) == 5


def test_a_delta_of_one_over_the_records_is_refused_before_any_trial() -> None:
    config = settings("privacy.delta=0.0099")
    trials = choose.planned(config, "dp-sgd", (2.0,))
    with pytest.raises(ConfigError, match="expose one whole example"):
        choose.deal(replace(tiny.dataset(records=300), builtin=False), config, trials)


def test_a_run_of_what_was_chosen_costs_the_same_whatever_was_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = choosing(tmp_path, monkeypatch, capsys)
    status, words = call(0.0)
    assert status == 0 and "chosen:            epsilon 2," in words
    two, eight = choose.planned(settings(), "dp-sgd", GRID)
    most = choose.cost((two, eight), eight)
    assert f"with a run of it:  at most epsilon {dp.round_up(most, 4)} in all" in words


def choosing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Return what chooses on records that are not public, in a folder."""
    monkeypatch.chdir(folder)
    (folder / "empty.toml").write_text("")
    monkeypatch.setattr(cli_choose, "load", lambda data, seed: PRIVATE)

    def call(target: float, *more: str) -> tuple[int, str]:
        words = ["dp", "choose", "empty.toml", "--target-accuracy", str(target)]
        status = command([*words, "--grid", "2,8", *TINY, *more])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return call


def test_the_ledger_pays_the_grid_before_any_trial_or_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = choosing(tmp_path, monkeypatch, capsys)
    paid = ("--set=privacy.ledger=l.db", "--set=privacy.ledger_epsilon=9")
    seen: list[int] = []
    real = choose.train

    def train(*given: Any, **keys: Any) -> Any:
        with shared(tmp_path / "l.db") as ledger:
            seen.append(len(ledger.entries()))
        return real(*given, **keys)

    monkeypatch.setattr(choose, "train", train)
    status, words = call(0.0, *paid)
    assert status == 0
    with shared(tmp_path / "l.db") as ledger:
        found = ledger.entries()
        assert ledger.parties == ("all records",) and len(found) == 1
        assert all(one.committed for one in found)
        spent = ledger.epsilon(ledger.parties[0])
    assert seen == [1]
    stated = choose.cost(choose.planned(settings(), "dp-sgd", GRID))
    assert spent == pytest.approx(stated, rel=1e-3)
    assert f"at most epsilon {dp.round_up(stated, 4)}" in words
    assert "whole grid" in words and "held-out" in words
    # A second choice does not fit, and neither trains nor spends.
    status, words = call(0.0, *paid)
    assert status == 2 and "smaller grid" in words
    assert seen == [1]
    with shared(tmp_path / "l.db") as ledger:
        assert ledger.entries() == found
    # Public records cost nothing.
    status, words = call(0.0, *paid, "--public")
    assert status == 0 and "none, as these records are public" in words
    with shared(tmp_path / "l.db") as ledger:
        assert ledger.entries() == found


def test_no_epsilon_that_is_enough_is_said_and_fails_a_gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = choosing(tmp_path, monkeypatch, capsys)
    status, words = call(1.0)
    assert status == 3
    assert words.count("trial:") == 2 and "none: no epsilon" in words
    assert call(1.0, "--grid", "one")[0] == 2


@pytest.mark.slow
def test_a_choice_over_every_client_is_paid_by_all_of_them_together(
    tmp_path: Path,
) -> None:
    path = tmp_path / "l.db"
    config = settings(f'privacy.ledger="{path}"', "privacy.ledger_epsilon=20.0")
    trials = choose.planned(config, "central-dp", (2.0,))
    fed = federation(config)
    run = choose.pay(trials, fed, config)
    budget = dp.Budget(epsilon=20.0, delta=1e-5)
    with dp.Ledger(budget, unit="client", path=path, book=ALL_RUNS) as ledger:
        assert ledger.parties == ("all clients",)
        assert not ledger.entries()[0].committed
        choose.settle(trials, config, run)
        assert ledger.entries()[0].committed


def test_a_budget_that_is_too_small_is_the_users_to_mend(tmp_path: Path) -> None:
    config = settings(
        f'privacy.ledger="{tmp_path / "l.db"}"', "privacy.ledger_epsilon=1.0"
    )
    trials = choose.planned(config, "dp-sgd", (2.0,))
    with pytest.raises(UserError, match="choose on public records"):
        choose.pay(trials, federation(config), config)
