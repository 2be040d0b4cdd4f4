"""Accuracy against epsilon: every point is of the budget that its place says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import curves, utility
from benchmarks.__main__ import as_json
from benchmarks.bare_sum import BareSum
from benchmarks.utility import CENTRAL, SHARES, Job, Trained
from fl.shares import NoisedMasks, Shares
from secagg import context
from secagg.aggregator import Aggregator


def trained(job: Job, *, right: float = 0.5, spent: float | None = None) -> Trained:
    correct = np.arange(1000) < round(1000 * right)
    reached = 0.9 * (job.epsilon or 0.0) if spent is None else spent
    return Trained(
        correct=correct,
        ids=np.arange(1000),
        spent=reached,
        relation="",
        rounds=3,
        deviation=5.0 if job.mechanism == SHARES else 4.0,
    )


ASKED: list[Job] = []


@pytest.fixture(scope="module")
def made_up() -> Iterator[dict[str, float]]:
    """Return the figures of trainings that are right more often in some places."""

    def run(job: Job) -> Trained:
        ASKED.append(job)
        worse = {SHARES: 0.02, CENTRAL: 0.0}.get(job.mechanism, 0.1)
        loss = worse * (2 if job.epsilon == 1 else 1) + 0.001 * job.seed
        return trained(job, right=0.9 - loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BLINDSUM_DATA", raising=False)
        patch.setattr(utility, "each", lambda _, jobs, count: map(run, jobs))
        yield utility.measure(quick=False)


def test_the_headline_is_the_widest_mean_loss_of_all_epsilons(
    made_up: dict[str, float],
) -> None:
    assert made_up["distributed_minus_central"] == pytest.approx(-0.04)
    assert made_up["distributed_minus_central_eps_8"] == pytest.approx(-0.02)
    assert made_up["seeds"] == utility.SEEDS
    assert made_up["accuracy_digits_central-dp_eps_8"] == pytest.approx(0.898)
    assert made_up["noise_ratio_eps_1"] == pytest.approx(1.25)
    json.loads(as_json("utility", made_up))


def test_the_loss_to_shares_is_a_mean_over_more_seeds_than_the_curves(
    made_up: dict[str, float],
) -> None:
    asked = {(job.mechanism, job.epsilon, job.seed) for job in ASKED}
    for epsilon, seeds in utility.PAIRS.items():
        for mechanism in (SHARES, CENTRAL):
            assert {(mechanism, epsilon, seed) for seed in range(seeds)} <= asked
    assert sum(job.mechanism == "local-dp" for job in ASKED) == 4 * utility.SEEDS
    jobs = [
        Job(data="digits", mechanism=mechanism, epsilon=1.0, seed=seed)
        for mechanism in (SHARES, CENTRAL)
        for seed in range(8)
    ]
    found = {
        job: trained(
            job, right=0.4 if job.mechanism == SHARES and job.seed > 5 else 0.5
        )
        for job in jobs
    }
    figures = utility._difference(found)
    assert figures["distributed_minus_central"] == pytest.approx(-0.1 * 2 / 8)


def _shares(clients: int) -> Shares:
    return Shares(
        epsilon=0.5,
        delta=1e-5,
        rounds=1,
        clients=clients,
        corrupt=1,
        drop=0,
        rate=1.0,
        clip_norm_l2=1.0,
        value_bits=16,
        mechanism="discrete-gaussian",
    )


def _sum_of(aggregator: Aggregator, seed: bytes) -> NDArray[np.float32]:
    vectors = {f"c{i}": np.full(40, 0.02 * i, dtype=np.float32) for i in range(6)}
    return aggregator.aggregate(
        vectors,
        dict.fromkeys(vectors, 1),
        context=context(b"bare"),
        session=b"bare",
        seed=seed,
    ).mean


def test_a_sum_without_masks_has_the_bits_of_the_secure_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = _shares(6)
    masked = _sum_of(NoisedMasks(shares), b"seed")
    bare = BareSum(shares, played=0)
    np.testing.assert_array_equal(_sum_of(bare, b"seed"), masked)
    assert not np.array_equal(_sum_of(bare, b"other"), masked)
    twice = BareSum(shares, played=1)
    np.testing.assert_array_equal(_sum_of(twice, b"seed"), masked)
    monkeypatch.setattr("benchmarks.bare_sum.add_noise", lambda *_: None)
    with pytest.raises(RuntimeError, match="not that of the noised integers"):
        _sum_of(BareSum(shares, played=1), b"seed")


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
