"""`python -m benchmarks inversion`: both sides attack alike, and are scored alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import inversion, spear, victims
from benchmarks.__main__ import as_json
from benchmarks.inversion import Contest, Race
from benchmarks.peers import breaching_attacks
from benchmarks.peers.asking import MissingError
from benchmarks.peers.breaching_attacks import Attacker
from benchmarks.victims import Answer, Work

EXACT = Contest("linear", "fc", 1)
NAMED = {"quality_delta_db", "speedup_fc_8_trials", "spear_batch12_exact"}


@pytest.fixture(autouse=True)
def no_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLINDSUM_DATA", raising=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "CONTESTS", (EXACT,))
    races = (Race("speedup_fc_8_trials", "fc", 2, 4),)
    monkeypatch.setattr(inversion, "RACES", races)
    found = {"spear_batch12_exact": 1.0}
    monkeypatch.setattr(spear, "spear_batch12", lambda _: found)


@contextmanager
def ours_again() -> Iterator[Attacker]:
    """Play the peer with our own side, a little worse."""

    def attacker(work: Work) -> Answer:
        answer = inversion.ours(work)
        return replace(answer, inputs=answer.inputs + np.float32(1e-4))

    yield attacker


@contextmanager
def missing() -> Iterator[Attacker]:
    raise MissingError("no registry")
    yield inversion.ours


def one_work(contest: Contest) -> tuple[Work, torch.Tensor]:
    return next(inversion.works(contest, 1))


def test_the_quick_run_has_every_figure(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaching_attacks, "started", ours_again)
    figures = inversion.measure(True, inversion.PEERS)
    assert figures.keys() >= NAMED
    assert figures["quality_delta_db"] == 0  # both over the cap
    assert all(math.isfinite(value) for value in figures.values())
    assert json.loads(as_json("inversion", figures))["figures"] == figures


def test_a_peer_that_cannot_be_had_is_said_to_be_missing(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(breaching_attacks, "started", missing)
    figures = inversion.measure(True, inversion.PEERS)
    assert "breaching: no figure: no registry." in capsys.readouterr().out
    assert "quality_delta_db" not in figures and "speedup_fc_8_trials" not in figures


def test_a_wrong_answer_of_an_exact_attack_stops_the_run(small: None) -> None:
    def wrong(work: Work) -> Answer:
        answer = inversion.ours(work)
        return replace(answer, inputs=answer.inputs + np.float32(0.1))

    with pytest.raises(RuntimeError, match="exact attack of theirs got"):
        inversion._played({"theirs": wrong}, EXACT, 1)


def test_our_searches_begin_at_the_noise_that_the_peer_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, _ = one_work(Contest("cosine", "lenet", 1))
    still = {"step": 1e-9, "smoothness": 0.0}
    kind = inversion.attacks.CosineTV
    monkeypatch.setattr(
        inversion.attacks, "CosineTV", lambda **given: kind(**given | still)
    )
    found = inversion.ours(work)
    assert np.abs(found.inputs - work.starts).max() < 1e-6


def test_what_is_sent_holds_the_update_and_not_the_image(tmp_path: Path) -> None:
    work, truth = one_work(EXACT)
    victims.save(tmp_path / "work.npz", work)
    read = victims.load_work(tmp_path / "work.npz")
    assert (read.attack, read.net, read.model) == ("linear", "fc", 0)
    net = victims.build("fc", 0)
    weight, bias, *_ = victims.apart(net, read.gradients[0])
    row = int(bias.abs().argmax())
    assert torch.allclose(weight[row] / bias[row], truth.flatten(), atol=1e-4)
    held = (read.labels, read.starts)
    assert all(np.asarray(truth).shape != each.shape or
               not np.allclose(truth, each) for each in held)  # fmt: skip


def test_a_score_is_capped_and_never_lost() -> None:
    truth = torch.zeros(1, *victims.SHAPE)
    assert inversion.decibels(truth.numpy(), truth) == inversion.CAP_DB
    assert inversion.decibels(np.full(truth.shape, np.nan), truth) == 0
    off = np.full(truth.shape, 0.4)  # a tenth of the range
    assert inversion.decibels(off, truth) == pytest.approx(20)


def test_images_are_reproduced_and_lie_in_the_range() -> None:
    first, second = victims.images(4), victims.images(4)
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])
    low, high = victims.RANGE
    assert first[1].shape == (4, *victims.SHAPE)
    assert low <= float(first[1].min()) and float(first[1].max()) <= high


@pytest.mark.slow
def test_breaching_recovers_what_is_exact() -> None:
    work, truth = one_work(EXACT)
    try:
        with breaching_attacks.started() as attacker:
            answer = attacker(work)
    except MissingError as why:
        pytest.skip(f"breaching: {why}")
    assert inversion.decibels(answer.inputs[0], truth[0]) == inversion.CAP_DB
    assert answer.cpu_s > 0
