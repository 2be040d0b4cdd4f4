"""DP-SGD whose unit is a person: one coin, one clipped sum over all their records."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

import fl.local.private
from dp.sgd import DpSgd
from fl.errors import ModelError
from fl.local import Member, PrivateRecipe, Rule, engine_for, train_private
from fl.local.engine import examples_of
from fl.local.stack import Layout
from fl.local.units import Sample, Sampler, people_of, sampler
from fl.models import to_vector
from tests.fl.local import oracle
from tests.fl.local.some import members, model_of
from tests.fl.local.test_private import CLIP, KINDS, RATE, SIGMA, SIZE, recipe

MOST = 3
ALL_IN = {"sampling_rate": 1.0, "steps": 1}
ONE_STEP = 0.3 * CLIP / SIZE


def by_person(most: int = MOST, steps: int = 3, **keys: Any) -> PrivateRecipe:
    plain = recipe(steps=steps, **keys)
    return PrivateRecipe(
        steps=plain.steps, mechanism=plain.mechanism, rule=plain.rule, most_records=most
    )


def people(
    sizes: Sequence[int], shape: tuple[int, ...] = (6,), seed: int = 0
) -> list[Member]:
    """Members of whose people some have one record and some more than `MOST`."""
    rng = np.random.default_rng(seed)
    return [
        one._replace(subjects=rng.choice([7, 7, 7, 7, 1, 3, 12], len(one.y)))
        for one in members(sizes, shape, seed)
    ]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise, which no public call allows."""
    monkeypatch.setattr(
        DpSgd, "noises", lambda _, length, seeds: repeat(np.zeros((len(seeds), length)))
    )


def run(
    model: nn.Module, clients: Sequence[Member], limit: int = 2**24, **keys: Any
) -> np.ndarray:
    seeds = [b"%d" % i for i in range(len(clients))]
    return train_private(
        model, clients, by_person(**keys), noise_seeds=seeds, limit=limit
    )


def loop(
    model: nn.Module, client: Member, *, most: int = MOST, clip: float = CLIP
) -> np.ndarray:
    """Person by person in float64: sum their gradients, clip the sum; no noise."""
    model = copy.deepcopy(model).double()
    parameters = list(model.parameters())
    start, subjects = oracle.flat(model).copy(), client.subjects
    assert subjects is not None
    for step in range(3):
        total = np.zeros_like(start)
        for number, person in enumerate(sorted(set(subjects.tolist()))):
            coin = (oracle.word(client.key, 1, step, number) >> 11) / 2**53
            if coin >= RATE:
                continue
            rows = [i for i, own in enumerate(subjects) if own == person]
            rows.sort(key=lambda row: oracle.word(client.key, 2, step, row))
            gradient = np.zeros_like(start)
            for row in rows[:most]:
                x, y = client.x[row : row + 1].double(), client.y[row : row + 1]
                parts = torch.autograd.grad(cross_entropy(model(x), y), parameters)
                gradient += torch.cat([p.reshape(-1) for p in parts]).numpy()
            total += gradient * min(1.0, clip / float(np.linalg.norm(gradient)))
        now = torch.from_numpy(oracle.flat(model) - 0.3 * total / SIZE)
        with torch.no_grad():
            pieces = now.split([p.numel() for p in parameters])
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.copy_(piece.view_as(parameter))
    return oracle.flat(model) - start


@pytest.mark.parametrize("clip", [0.05, 50.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("silent")
def test_equals_the_loop_over_people(kind: str, clip: float) -> None:
    torch.manual_seed(3)
    model, shape = KINDS[kind]()
    clients = people([17, 4, 1, 0], shape)
    found = run(model, clients, clip_norm_l2=clip)
    wanted = np.stack([loop(model, one, clip=clip) for one in clients])
    assert np.linalg.norm(wanted) > 1e-3
    assert np.allclose(found, wanted, atol=1e-6, rtol=4e-5)
    small = run(model, clients, clip_norm_l2=clip, limit=1)
    assert np.allclose(small, found, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vmap", "opacus"])
def test_people_of_one_record_each_are_records(kind: str) -> None:
    model, shape = KINDS[kind]()
    clients = [
        one._replace(subjects=np.arange(len(one.y)))
        for one in members([9, 4, 0], shape)
    ]
    seeds = [b"a", b"b", b"c"]
    plain = train_private(model, clients, recipe(), noise_seeds=seeds)
    found = train_private(model, clients, by_person(), noise_seeds=seeds)
    assert np.allclose(found, plain, atol=1e-7)


def clipped_one_by_one(
    members: Sequence[Member], *, steps: int, rate: float, most: int | None
) -> Sampler:
    """The planted fault: a person's coin, but every record clipped on its own."""
    sound = sampler(members, steps=steps, rate=rate, most=most)

    class Fault:
        def at(self, step: int) -> Sample:
            sample = sound.at(step)
            assert sample.weights is not None
            counts = (sample.weights > 0) & sample.sampled.unsqueeze(2)
            return Sample(
                rows=sample.rows.flatten(1).unsqueeze(2),
                weights=None,
                sampled=counts.flatten(1),
            )

    return Fault()


def with_a_person(client: Member, records: int, size: float) -> Member:
    """Add somebody with so many records of a size; half of them repeat, half do not."""
    rng = torch.Generator().manual_seed(records)
    shape = (records, *client.x.shape[1:])
    x = torch.rand(shape, generator=rng) * size
    x[::2] = size
    assert client.subjects is not None
    return client._replace(
        x=torch.cat([client.x, x]),
        y=torch.cat([client.y, torch.full((records,), 2)]),
        subjects=np.concatenate([client.subjects, np.full(records, 99)]),
    )


def moved(kind: str, records: int, size: float, clip: float = CLIP) -> list[float]:
    """Return how far one more person moves a step, at their client and at another."""
    torch.manual_seed(5)
    model, shape = KINDS[kind]()
    client, neighbour = people([9, 9], shape)
    more = with_a_person(client, records, size)
    keys = {**ALL_IN, "clip_norm_l2": clip}
    one = run(model, [more, neighbour], **keys)
    two = run(model, [client, neighbour], **keys)
    return [float(np.linalg.norm(a - b)) for a, b in zip(one, two, strict=True)]


SIZES = [0.0, 1e-30, 1.0, 1e3, 1e15, 1e30, math.inf, math.nan]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["logreg", "cnn", "vmap", "opacus"])
@pytest.mark.parametrize("size", SIZES)
def test_a_person_moves_a_step_by_the_clip_norm_at_most(kind: str, size: float) -> None:
    own, others = moved(kind, 5, size)
    # Float32 rounding of the weights comes on top.
    assert own <= ONE_STEP + 1e-6
    assert others <= 1e-7


@settings(max_examples=10, deadline=None, derandomize=True)
@given(records=st.integers(1, 12), size=st.sampled_from(SIZES))
def test_however_many_records_the_person_has(records: int, size: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            DpSgd, "noises", lambda _, length, s: repeat(np.zeros((2, length)))
        )
        own, others = moved("mlp", records, size)
    assert own <= ONE_STEP + 1e-6
    assert others <= 1e-7


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["logreg", "vmap", "opacus"])
def test_records_clipped_one_by_one_would_be_noticed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fl.local.private, "sampler", clipped_one_by_one)
    with pytest.raises(AssertionError):
        test_a_person_moves_a_step_by_the_clip_norm_at_most(kind, 1e3)
    own, _ = moved(kind, 5, 1e3)
    assert own > 1.5 * ONE_STEP


@pytest.mark.parametrize("clip", [1.0, 2.0**-60])
@pytest.mark.parametrize("size", [1e-30, 1.0, 2.0**59, 2.0**61])
@pytest.mark.parametrize("kind", ["logreg", "mlp", "cnn", "vmap"])
def test_no_corner_of_float32_lets_a_sum_exceed_the_clip_norm(
    kind: str, size: float, clip: float
) -> None:
    torch.manual_seed(7)
    model, shape = KINDS[kind]()
    engine = engine_for(model, shape)
    mechanism = by_person(clip_norm_l2=clip).mechanism
    layout = Layout([p.shape for p in model.parameters()], engine.images)
    stack = layout.arranged(torch.from_numpy(to_vector(model))[None])
    x = torch.full((1, 4, *shape), size)
    for labels in ([0, 0, 0, 0], [0, 1, 2, 1]):
        y = torch.tensor([labels])
        found = examples_of(model, engine)(stack, x.clone(), y, torch.ones(1, 1, 4))
        sums = mechanism.clipped_sums(found, torch.ones(1, 1).bool())
        assert float(sums.double().norm()) <= clip


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["mlp", "cnn", "vmap", "opacus"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_nobodys_infinities_reach_another_persons_sum(kind: str, bad: float) -> None:
    # The bad record comes first, where whatever fills up a stack is taken from.
    model, shape = KINDS[kind]()
    (client,) = people([14], shape)
    assert client.subjects is not None
    worse = client._replace(
        x=torch.cat([torch.full((1, *shape), bad), client.x]),
        y=torch.cat([client.y[:1], client.y]),
        subjects=np.concatenate([[50], client.subjects]),
    )
    (one,), (two,) = (run(model, [c], most=50, **ALL_IN) for c in (client, worse))
    assert np.linalg.norm(one) > 1e-3
    assert np.allclose(one, two, atol=1e-6)


def test_neither_records_nor_people_touch_normaliser_or_noise() -> None:
    model, _ = model_of("mlp")
    changes = [
        train_private(
            model,
            [one._replace(key=7)],
            by_person(sampling_rate=1e-12),
            noise_seeds=[b"s"],
        )
        for one in people([0, 1, 9, 400])
    ]
    assert changes[0].any()
    for change in changes[1:]:
        assert np.array_equal(change, changes[0])


def test_a_persons_records_come_together_and_others_stay_away() -> None:
    clients = people([40, 0, 25, 3])
    starts = np.cumsum([0, 40, 0, 25])
    steps = sampler(clients, steps=200, rate=0.5, most=MOST)
    joined = np.zeros(4)
    for step in range(200):
        sample = steps.at(step)
        assert sample.weights is not None
        for client, (own, start) in enumerate(zip(clients, starts, strict=True)):
            seen = []
            for rows, weights, up in zip(
                sample.rows[client],
                sample.weights[client],
                sample.sampled[client],
                strict=True,
            ):
                if not up:
                    assert not weights.any()
                    continue
                assert own.subjects is not None
                of = own.subjects[rows.numpy() - start]
                assert len(set(of.tolist())) == 1  # those that fill up, too
                kept = rows[weights > 0].tolist()
                size = int((own.subjects == of[0]).sum())
                assert len(set(kept)) == len(kept) == min(size, MOST)
                seen.append(int(of[0]))
            assert len(set(seen)) == len(seen)
            joined[client] += len(seen)
    coins = [200 * len(people_of(one).counts) for one in clients]
    for count, tossed in zip(joined, coins, strict=True):
        assert abs(count - tossed / 2) <= 4 * math.sqrt(tossed / 4)


def test_of_many_records_each_is_drawn_as_often_and_afresh_in_every_step() -> None:
    (one,) = members([10])
    one = one._replace(subjects=np.zeros(10, dtype=np.int64))
    steps = sampler([one], steps=900, rate=1.0, most=3)
    drawn = [steps.at(step).rows.reshape(-1).tolist() for step in range(900)]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert counts.sum() == 2700
    # Three of ten without replacement deviate by 0.7 of what independent draws would.
    assert stats.chisquare(counts).pvalue > 0.001
    again = sum(set(a) == set(b) for a, b in pairwise(drawn))
    assert again < 30  # one in 120


def test_who_does_not_say_whose_the_records_are_is_refused() -> None:
    model, _ = model_of("mlp")
    with pytest.raises(ModelError, match=r"data\.subject"):
        run(model, members([9, 4]))
    with pytest.raises(ModelError, match="at least 1"):
        by_person(most=0)


def test_people_are_counted_and_kept_together() -> None:
    (one,) = members([6])
    own = people_of(one._replace(subjects=np.array([5, 2, 5, 9, 2, 5])))
    assert own.counts.tolist() == [2, 3, 1]
    assert own.order.tolist() == [1, 4, 0, 2, 5, 3]
    assert own.start.tolist() == [0, 2, 5]


def test_noise_is_that_of_a_record_whatever_the_person_brings() -> None:
    model, _ = model_of("mlp")
    clients = people([9] * 40)
    noisy = run(model, clients, steps=1, sampling_rate=1e-12)
    std = 0.3 * SIGMA * CLIP / SIZE
    assert 0.0005 < stats.chi2.cdf(np.square(noisy / std).sum(), noisy.size) < 0.9995


def test_rules_other_than_plain_steps_work_on_the_released_gradient() -> None:
    model, _ = model_of("logreg")
    adam = Rule(optimizer="adam", learning_rate=0.1)
    found = run(model, people([9, 4]), rule=adam)
    assert np.isfinite(found).all() and found.any()
