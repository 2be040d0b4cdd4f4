"""Accuracy against epsilon: every point is of the budget that its place says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import curves, utility
from benchmarks.__main__ import as_json
from benchmarks.utility import CENTRAL, SHARES, Job, Trained


def trained(job: Job, *, right: float = 0.5, spent: float | None = None) -> Trained:
    correct = np.arange(1000) < round(1000 * right)
    reached = 0.9 * (job.epsilon or 0.0) if spent is None else spent
    return Trained(
        correct=correct, ids=np.arange(1000), spent=reached, relation="", rounds=3
    )


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return the figures of trainings that are right more often in some places."""
    monkeypatch.delenv("BLINDSUM_DATA", raising=False)

    def run(job: Job) -> Trained:
        worse = {SHARES: 0.02, CENTRAL: 0.0}.get(job.mechanism, 0.1)
        loss = worse * (2 if job.epsilon == 1 else 1) + 0.01 * job.seed
        return trained(job, right=0.9 - loss)

    monkeypatch.setattr(utility, "each", lambda _, jobs, count: map(run, jobs))
    return utility.measure(quick=False)


def test_the_headline_is_the_widest_mean_loss_of_all_epsilons(
    made_up: dict[str, float],
) -> None:
    assert made_up["distributed_minus_central"] == pytest.approx(-0.04)
    assert made_up["distributed_minus_central_eps_8"] == pytest.approx(-0.02)
    assert made_up["seeds"] == utility.SEEDS
    assert made_up["accuracy_digits_central-dp_eps_8"] == pytest.approx(0.88)
    json.loads(as_json("utility", made_up))


def test_a_point_that_spent_more_than_its_place_says_is_refused() -> None:
    job = Job(data="digits", mechanism=CENTRAL, epsilon=2.0, seed=0)
    with pytest.raises(RuntimeError, match=r"at epsilon 2.0 spent 2.1"):
        utility._table("digits", {job: trained(job, spent=2.1)})
    with pytest.raises(RuntimeError, match=r"spent 0"):
        utility._table("digits", {job: trained(job, spent=0.0)})


def test_every_data_set_gets_a_plot_of_every_mechanism(
    made_up: dict[str, float], tmp_path: Path
) -> None:
    found = curves.read(made_up)
    assert set(found) == {"digits"}
    assert set(found["digits"]) == {"none", *utility.MECHANISMS}
    assert set(found["digits"][SHARES]) == set(utility.EPSILONS)
    path = tmp_path / "plot.svg"
    curves.draw("digits", found["digits"], utility.SEEDS, path)
    text = path.read_text()
    assert all(f"<!-- {name} -->" in text for name in utility.MECHANISMS)
    curves.draw("digits", found["digits"], utility.SEEDS, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text


@pytest.mark.slow
def test_a_training_keeps_its_budget_and_its_seed() -> None:
    job = Job(data="digits", mechanism=CENTRAL, epsilon=4.0, seed=1)
    one, two = utility.run(job), utility.run(job)
    assert 3.9 < one.spent <= 4.0 and one.rounds == 15
    np.testing.assert_array_equal(one.correct, two.correct)
