"""Every attack on what protections leave: chance under masks and noise, batch in sums.

The updates cross the wire by the real protocols: `PairwiseMask` (one masked upload as
the server reads it), `LocalGaussian` at epsilon 1 (a client's own noise) and the sum of
a masked round. Each attack is shown to work on the bare update first, so that a null is
no broken attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import dp
import secagg
from attacks import (
    APRIL,
    DAGER,
    DLG,
    ILRG,
    RGAP,
    Adversary,
    Certificate,
    CocktailParty,
    CosineTV,
    GradInversion,
    InversionAttack,
    LinearInversion,
    LocalSteps,
    Modern,
    Observation,
    Reconstruction,
    Spear,
    label_accuracy,
    other_records,
    paired_excess,
    score,
)
from dp.local import LocalGaussian
from secagg.aggregator import Aggregator, PairwiseMask, PlainSum
from tests.attacks.test_april import _Usual
from tests.attacks.test_dager import _Decoder

VICTIMS, CLIENTS, CLIP = 12, 4, 4.0
EPSILON, DELTA = 1.0, 1e-5
CONTEXT = b"c" * 32
Update = NDArray[np.float32]


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    images = torch.tensor(found.images / 16.0, dtype=torch.float32)
    return images.reshape(-1, 1, 8, 8), torch.tensor(found.target)


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def _chain() -> nn.Module:
    act = nn.LeakyReLU
    return nn.Sequential(
        *(nn.Conv2d(1, 2, 3, 1, 1), act(), nn.Conv2d(2, 2, 3, 1, 1), act()),
        *(nn.Flatten(), nn.Linear(128, 10)),
    )


def _tokens(first: int, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(first)
    rows = torch.randint(0, 65, (count, 12), generator=generator)
    return rows, torch.randint(0, 10, (count,), generator=generator)


def _records(first: int, count: int) -> tuple[Tensor, Tensor]:
    images, labels = _digits()
    return images[first : first + count], labels[first : first + count]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An attack, the net that it is for, and how many records it is asked for."""

    attack: InversionAttack
    build: Callable[[], nn.Module] = _mlp
    batch: int = 1
    draw: Callable[[int, int], tuple[Tensor, Tensor]] = _records
    told: dict[str, object] = field(default_factory=dict)

    def victim(self, number: int) -> tuple[Observation, Tensor]:
        """Return the bare update of one client's step, and its records."""
        torch.manual_seed(number)
        model = self.build().eval()
        inputs, labels = self.draw(number * self.batch, self.batch)
        loss = functional.cross_entropy(model(inputs), labels)
        names, weights = zip(*model.named_parameters(), strict=True)
        slopes = torch.autograd.grad(loss, weights)
        tokens = not inputs.is_floating_point()
        seen = Observation(
            adversary=Adversary.SERVER,
            view="one upload",
            model=model,
            gradient=dict(zip(names, slopes, strict=True)),
            batch_size=self.batch,
            steps=1,
            labels=None,
            input_shape=tuple(inputs.shape[1:]),
            classes=10,
            value_range=None if tokens else (0.0, 1.0),
            lr=1.0,
            tokens=65 if tokens else None,
        )
        return replace(seen, **self.told), inputs


CASES = [
    Case(attack=LinearInversion()),
    Case(attack=Spear(draws=2**9), batch=4),
    Case(attack=CocktailParty(), batch=4),
    Case(attack=RGAP(), build=_chain),
    Case(attack=APRIL(), build=_Usual),
    Case(attack=DAGER(), build=lambda: _Decoder(classes=10), draw=_tokens, batch=2),
    Case(attack=DLG(iterations=20, restarts=1)),
    Case(attack=CosineTV(iterations=40, restarts=1)),
    Case(attack=Modern(iterations=40, restarts=1)),
    Case(attack=GradInversion(iterations=40, restarts=2)),
    Case(attack=LocalSteps(iterations=40, restarts=1), told={"momentum": 0.0}),
]
EXACT = (LinearInversion, Spear, RGAP, APRIL, DAGER)


def _flat(seen: Observation) -> Update:
    assert seen.gradient is not None
    flat = torch.cat([g.flatten() for g in seen.gradient.values()]).float()
    return (flat * min(1.0, 0.99 * CLIP / float(flat.norm()))).numpy()


def _with(seen: Observation, update: NDArray[np.floating]) -> Observation:
    assert seen.gradient is not None
    parts, at = {}, 0
    for name, old in seen.gradient.items():
        part = torch.from_numpy(np.asarray(update[at : at + old.numel()], np.float64))
        parts[name] = part.reshape(old.shape).to(old.dtype)
        at += old.numel()
    return replace(seen, gradient=parts)


def _masks() -> PairwiseMask:
    encoder = secagg.Encoder(value_bits=32, clip_norm_l2=CLIP, weight_max=1)
    return PairwiseMask(secagg.plan(CLIENTS, 1, 0, encoder=encoder))


def _upload(sum_: Aggregator, update: Update, number: int) -> NDArray[np.float64]:
    """Return what the server reads of a client's upload in a whole round."""
    seed = number.to_bytes(32, "big")
    rng = np.random.default_rng(number)
    others = {
        f"c{i}": rng.normal(0, 0.01, len(update)).astype(np.float32)
        for i in range(1, CLIENTS)
    }
    vectors = {"c0": update, **others}
    round_ = sum_.aggregate(
        vectors,
        dict.fromkeys(vectors, 1),
        context=CONTEXT,
        session=b"nulls",
        seed=seed,
    )
    return round_.transcript.uploads()["c0"].vector[: len(update)]


def _masked(seen: Observation, number: int) -> Observation:
    return _with(seen, _upload(_masks(), _flat(seen), number))


@lru_cache(maxsize=1)
def _multiplier() -> float:
    return dp.noise_multiplier_for(EPSILON, DELTA, 1.0, 1)


def _noised(seen: Observation, number: int) -> Observation:
    """Noise of epsilon 1 on the client's own upload, which crosses in the clear."""
    z = _multiplier()
    noise = LocalGaussian(clip_norm_l2=CLIP, noise_multiplier=z)
    update = noise.release(_flat(seen), seed=number.to_bytes(32, "big"))
    return _with(seen, _upload(PlainSum(), update, number))


def _scores(
    case: Case, hide: Callable[[Observation, int], Observation] | None
) -> tuple[list[float], list[float], list[Reconstruction], int]:
    """Attack every victim; return values, nulls, answers and the exact ones."""
    values, nulls, answers, exact = [], [], [], 0
    for number in range(VICTIMS):
        seen, truth = case.victim(number)
        if hide is not None:
            seen = hide(seen, number)
        found = case.attack.run(seen, seed=number)
        answers.append(found)
        if case.draw is _tokens:
            stranger, _ = _tokens(10_000 + number, case.batch)
            value, null = (
                _tokens_right(found.inputs, rows) for rows in (truth, stranger)
            )
            exact += value == 1.0
        else:
            pool = _digits()[0][1000:]
            others = other_records(pool, truth, sets=1, seed=number)
            one = score(found.inputs, truth, others, value_range=(0.0, 1.0))
            value, null = one.psnr, one.psnr_null
            exact += one.exact > 0
        values.append(value)
        nulls.append(null)
    return values, nulls, answers, exact


def _tokens_right(found: Tensor, rows: Tensor) -> float:
    if len(found) == 0:
        return 0.0
    hits = (found[:, None] == rows[None]).double().mean(dim=2)
    return float(hits.amax(dim=0).mean())


def _ids(case: Case) -> str:
    return case.attack.name


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_the_bare_update_falls_to_the_attack(case: Case) -> None:
    values, nulls, answers, exact = _scores(case, None)
    if isinstance(case.attack, EXACT):
        assert exact >= VICTIMS - 2, [one.reason for one in answers]
    else:
        assert paired_excess(values, nulls).low > 0


# Over all cases and both protections together at 95 %.
CONFIDENCE = 1 - 0.05 / (2 * len(CASES) + 2)


@pytest.mark.slow
@pytest.mark.parametrize("hide", [_masked, _noised])
@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_what_a_protection_leaves_is_worth_no_more_than_chance(
    case: Case, hide: Callable[[Observation, int], Observation]
) -> None:
    values, nulls, answers, exact = _scores(case, hide)
    assert exact == 0
    assert all(one.certificate is not Certificate.CERTIFIED for one in answers)
    if values == nulls:
        return  # no answer at all: refused, scored alike
    assert paired_excess(values, nulls, CONFIDENCE).low <= 0


@pytest.mark.slow
@pytest.mark.parametrize("hide", [_masked, _noised])
def test_label_counts_of_a_protected_update_are_a_guess(
    hide: Callable[[Observation, int], Observation],
) -> None:
    case = Case(attack=LinearInversion(), batch=8)
    bare, hidden, nulls = [], [], []
    for number in range(2 * VICTIMS):
        seen, _ = case.victim(number)
        labels = _records(number * 8, 8)[1]
        stranger = _records(1000 + number * 8, 8)[1]
        for where, observation in ((bare, seen), (hidden, hide(seen, number))):
            found = ILRG().run(observation, seed=number)
            guess = torch.repeat_interleave(torch.arange(10), found.counts)
            assert where is bare or found.certificate is not Certificate.CERTIFIED
            if len(guess) == 0:
                guess = torch.zeros(8, dtype=torch.int64)
            where.append(label_accuracy(guess, labels, classes=10))
        nulls.append(label_accuracy(guess, stranger, classes=10))
    assert paired_excess(bare, nulls).low > 0.3
    excess = paired_excess(hidden, nulls, CONFIDENCE)
    assert excess.low <= 0 <= excess.high


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(one, marks=[pytest.mark.slow] * isinstance(one.attack, RGAP))
        for one in CASES
        if isinstance(one.attack, EXACT)
    ],
    ids=_ids,
)
def test_nothing_is_certified_behind_a_mask(case: Case) -> None:
    seen, _ = case.victim(0)
    found = case.attack.run(_masked(seen, 0), seed=0)
    assert found.certificate is not Certificate.CERTIFIED


@pytest.mark.parametrize(
    ("attack", "each"),
    [
        pytest.param(Spear(draws=2**9), 1, id="spear-4"),
        pytest.param(Spear(), 2, id="spear-8", marks=pytest.mark.slow),
        pytest.param(LinearInversion(), 2, id="linear-8"),
    ],
)
def test_the_sum_of_n_clients_behaves_as_a_batch_of_n_times_b(
    attack: InversionAttack, each: int
) -> None:
    """The mean of a masked round and the gradient of all its records: equal answers."""
    whole, _ = Case(attack=attack, batch=CLIENTS * each).victim(1)
    images, labels = _records(CLIENTS * each, CLIENTS * each)
    names = [name for name, _ in whole.model.named_parameters()]
    updates = {}
    for client in range(CLIENTS):
        own = slice(client * each, (client + 1) * each)
        loss = functional.cross_entropy(whole.model(images[own]), labels[own])
        slopes = torch.autograd.grad(loss, list(whole.model.parameters()))
        step = replace(whole, gradient=dict(zip(names, slopes, strict=True)))
        updates[f"c{client}"] = _flat(step)
    plan = _masks().plan
    round_ = secagg.run_round(plan, updates, context=CONTEXT)
    summed = replace(_with(whole, round_.mean), batch_size=each, clients_summed=CLIENTS)
    gaps = _flat(summed) - _flat(whole)
    assert float(np.abs(gaps).max()) <= round_.max_error + 1e-6
    of_sum, of_batch = (attack.run(one, seed=0) for one in (summed, whole))
    assert len(of_sum.inputs) == len(of_batch.inputs) > 0
    assert torch.allclose(of_sum.inputs, of_batch.inputs, atol=1e-3)
    if isinstance(attack, Spear):  # both are the true records, whose order is free
        gaps = torch.cdist(of_sum.inputs.flatten(1), images.flatten(1), p=torch.inf)
        assert float(gaps.amin(dim=0).max()) < 1e-3
