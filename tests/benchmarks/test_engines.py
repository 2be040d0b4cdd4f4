"""Every engine of the benchmark trains the same clients on the same batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks import digits, nets
from benchmarks.digits import BATCH, CLIENTS, RECORDS
from benchmarks.peers import flower, loop, pfl_research
from benchmarks.peers.asking import ROOT, MissingError
from benchmarks.work import Rounds, load_rounds, load_work, save


@pytest.mark.parametrize(("net", "parameters"), [("mlp", 4810), ("cnn", 9930)])
def test_a_net_has_the_size_it_says_and_the_same_weights_each_time(
    net: str, parameters: int
) -> None:
    first, second = nets.build(net), nets.build(net)
    values, _ = nets.flatten(first)
    assert len(values) == parameters
    assert torch.equal(values, nets.flatten(second)[0])


def test_laid_out_parameters_set_the_net_and_collect_its_gradients() -> None:
    net = nets.build("mlp")
    alone = nets.build("mlp")
    values, slopes = nets.flatten(net)
    x = torch.rand(3, *nets.SHAPE)
    net(x).square().sum().backward()
    alone(x).square().sum().backward()
    wanted = [p.grad.reshape(-1) for p in alone.parameters() if p.grad is not None]
    assert torch.equal(slopes, torch.cat(wanted))
    values.zero_()
    assert not net(x).any()


@pytest.mark.parametrize("epochs", [1, 3])
def test_each_epoch_steps_once_on_every_record_of_a_client(epochs: int) -> None:
    clients = digits.members()
    rows = digits.orders(clients, epochs)
    assert rows.shape == (CLIENTS, epochs * RECORDS // BATCH, BATCH)
    each = np.sort(rows.reshape(CLIENTS, epochs, RECORDS))
    assert (each == np.arange(RECORDS)).all()


@pytest.mark.parametrize("net", nets.NAMES)
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_loop_makes_the_changes_of_our_stack_and_other_batches_do_not(
    net: str, epochs: int
) -> None:
    work = digits.work(net, epochs)
    ours = digits.by_stack(nets.build(net), digits.members(), epochs)
    np.testing.assert_allclose(loop.changes(work), ours, atol=1e-5)
    strangers = dataclasses.replace(work, rows=np.roll(work.rows, 1, axis=0))
    assert np.abs(loop.changes(strangers) - ours).max() > 1e-4


def test_rounds_of_the_loop_and_of_ours_reach_the_same_models() -> None:
    ours = digits.run("mlp", 1, rounds=3)
    theirs = loop.run(digits.work("mlp", 1), rounds=3)
    assert np.array_equal(digits.on_one_core(digits.work("mlp", 1), 3).last, ours.last)
    assert ours.ms.shape == theirs.ms.shape == (3,)
    np.testing.assert_allclose(theirs.first, ours.first, atol=1e-5)
    np.testing.assert_allclose(theirs.last, ours.last, atol=1e-5)
    assert np.abs(ours.last - ours.first).max() > 1e-3


def test_a_workload_and_rounds_survive_their_files(tmp_path: Path) -> None:
    work = digits.work("cnn", 1)
    save(tmp_path / "work.npz", work)
    again = load_work(tmp_path / "work.npz")
    assert again.net == "cnn"
    for name in ("before", "x", "y", "rows"):
        assert np.array_equal(getattr(again, name), getattr(work, name))
    rounds = Rounds(ms=np.arange(2.0), first=work.before, last=-work.before)
    save(tmp_path / "rounds.npz", rounds)
    assert np.array_equal(load_rounds(tmp_path / "rounds.npz").last, rounds.last)


def test_a_crowd_has_records_of_the_digits_with_their_own_labels() -> None:
    raw = load_digits()
    known = {
        image.tobytes(): label
        for image, label in zip(raw.images.astype(np.float32), raw.target, strict=True)
    }
    x, y = digits.crowd(300)
    assert x.shape == (300, RECORDS, *nets.SHAPE)
    for one, label in zip(x.flatten(0, 1), y.flatten(), strict=True):
        assert known[(one * 8 + 8).numpy().tobytes()] == label


@pytest.mark.slow
def test_flower_reaches_our_model() -> None:
    try:
        with flower.started(CLIENTS) as ask:
            for net in nets.NAMES:
                _same(net, ask(digits.work(net, 1), 1))
    except MissingError as why:
        if "not installed" not in str(why):
            raise
        pytest.skip(f"Flower is {why}")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_pfl_reaches_our_model(processes: int) -> None:
    if not (ROOT / ".venv-peers" / "pfl" / "made.json").exists():
        pytest.skip("pfl has no environment yet: python -m benchmarks simulate")
    with pfl_research.started(processes) as ask:
        for net in nets.NAMES:
            _same(net, ask(digits.work(net, 1), 1))


def _same(net: str, theirs: Rounds) -> None:
    ours = digits.run(net, 1, rounds=1)
    np.testing.assert_allclose(theirs.first, ours.first, atol=1e-5)
    np.testing.assert_allclose(theirs.last, ours.last, atol=1e-5)
