"""Noise in shares in a run: how much is left in a sum, what is spent, who uploads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import dp
import secagg
from attacks import one_run_audit
from dp.clipping import Clipped
from dp.discrete import DiscreteGaussian
from dp.inversion import Rng
from fl import canaries, guarantees, updates
from fl.canaries import Trial
from fl.evidence import Evidence, Repeat
from fl.protection import Protection, UnavailableError
from fl.round import Snapshot, aggregate, draw_vanishing
from fl.utility import baselines
from secagg import rotation
from secagg.encode import rotation_of
from tests.fl import tiny

NAME = "distributed-dp"
SIX = ("federation.clients=6", "federation.corrupt=1", "federation.drop=2")
LENGTH = 2000
# Two-sided: a sound mechanism is accused once in a million.
SURE = 1e-6


def _vanishing(count: int) -> dict[str, str]:
    return dict(list({"c0": "masked_input", "c1": "unmask"}.items())[:count])


def _play(
    protection: Protection,
    sets: Sequence[str] = SIX,
    *,
    vanish: Mapping[str, str] | None = None,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    seed: int = 0,
    index: int = 0,
) -> Snapshot:
    zeros = {f"c{i}": np.zeros(LENGTH, np.float32) for i in range(6)}
    given = vectors if vectors is not None else zeros
    return aggregate(
        given,
        dict.fromkeys(given, 1),
        np.zeros(LENGTH, np.float32),
        protection,
        tiny.config(*sets),
        vanish=vanish or {},
        seed=seed,
        name=("test", index),
    )


def _spread(sent: Snapshot, protection: Protection) -> tuple[float, int]:
    """Return the sum of squares of what is left of zeros, in steps, and how many."""
    assert protection.shares is not None
    found = sent.aggregate
    scale = protection.shares.encoder(LENGTH).at(LENGTH).scale
    # The rotation keeps norms, so there is no need to undo it.
    steps = sent.released.astype(np.float64) * protection.shares.denominator * scale
    assert np.allclose(steps, found.mean * found.weight * scale, rtol=1e-5)
    return float(steps @ steps), len(steps)


def _as_claimed(squares: float, values: int, variance: float) -> bool:
    low, high = stats.chi2(values).ppf([SURE / 2, 1 - SURE / 2])
    return bool(low <= squares / variance <= high)


@pytest.mark.parametrize("mechanism", ["discrete-gaussian", "skellam"])
@pytest.mark.parametrize("gone", [0, 2])
def test_the_noise_of_a_released_sum_is_that_of_all_who_uploaded(
    mechanism: str, gone: int
) -> None:
    sets = (*SIX, f"privacy.distributed.noise={mechanism}", "privacy.epsilon=20.0")
    if mechanism == "skellam":  # its table has room for few bits only
        sets = (*sets, "privacy.distributed.value_bits=10")
    protection = tiny.protection(NAME, tiny.config(*sets))
    assert protection.shares is not None
    total = protection.shares.at(LENGTH)
    assert total.honest == 6 - 1 - 2
    sent = _play(protection, sets, vanish=_vanishing(gone))
    # Who vanishes in "unmask" has uploaded.
    inside = 6 - (gone > 0)
    assert len(sent.aggregate.survivors) == inside
    squares, values = _spread(sent, protection)
    assert _as_claimed(squares, values, inside * total.noise.variance)
    # At least what is claimed is left when the colluder takes off what it knows.
    assert inside - 1 >= total.honest


def test_a_share_that_is_left_out_is_seen_in_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protection = tiny.protection(NAME, tiny.config(*SIX))
    assert protection.shares is not None
    variance = protection.shares.at(LENGTH).noise.variance
    real, calls = DiscreteGaussian.draw, []

    def forgetful(self: DiscreteGaussian, length: int, rng: Rng) -> NDArray[np.int64]:
        calls.append(length)
        drawn = real(self, length, rng)
        return np.zeros_like(drawn) if len(calls) == 1 else drawn

    monkeypatch.setattr(DiscreteGaussian, "draw", forgetful)
    squares, values = _spread(_play(protection), protection)
    assert len(calls) == 6
    assert not _as_claimed(squares, values, 6 * variance)
    assert _as_claimed(squares, values, 5 * variance)


def test_an_update_that_is_not_clipped_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny.config(*SIX, "privacy.client.clip_norm_l2=0.01")
    tiny.trained(settings, NAME)

    def forgotten(vector: NDArray[np.floating], bound: float) -> Clipped:
        return Clipped(vector=vector.astype(np.float32), l2_bound=bound, factor=1.0)

    monkeypatch.setattr(updates.dp, "clip_l2", forgotten)
    with pytest.raises(secagg.ParameterError, match="norm"):
        tiny.trained(settings, NAME)


def test_the_sum_is_divided_by_a_public_number_and_holds_the_updates() -> None:
    protection = tiny.protection(NAME, tiny.config(*SIX))
    ones = np.full(LENGTH, 1 / math.sqrt(LENGTH), np.float32)
    zeros = np.zeros(LENGTH, np.float32)
    vectors = {f"c{i}": ones if i < 4 else zeros for i in range(6)}
    for vanish in ({}, {"c5": "masked_input"}):
        # The same seed gives the same noise, which the difference is without.
        sent = _play(protection, vectors=vectors, vanish=vanish)
        alone = _play(protection, vanish=vanish)
        along = (sent.released.astype(np.float64) - alone.released) @ ones
        assert along == pytest.approx(4 / 6, abs=1e-3), "whoever came"


def test_all_upload_in_every_round_and_equal_seeds_give_equal_bits() -> None:
    settings = tiny.config(
        "federation.clients=9",
        "federation.corrupt=1",
        "federation.drop=2",
        "federation.participation=0.6",
        "federation.dropout=0.1",
        "training.rounds=2",
    )
    first, fed = tiny.trained(settings, NAME)
    for sent in first.snapshots:
        gone = draw_vanishing(fed.clients, settings, seed=0, index=sent.index)
        early = {name for name, step in gone.items() if step != "unmask"}
        assert set(sent.aggregate.transcript.uploads()) == (
            {client.name for client in fed.clients} - early
        )
        assert sent.absent and sent.inside.isdisjoint(sent.absent)
        assert not any(sent.updates[name].any() for name in sent.absent)
        assert sent.aggregate.weight == len(sent.aggregate.survivors)
    again, _ = tiny.trained(settings, NAME)
    np.testing.assert_array_equal(first.final, again.final)
    other, _ = tiny.trained(settings, NAME, seed=1)
    assert (first.final != other.final).any()


def test_the_ledger_says_what_the_mechanism_says_of_the_run() -> None:
    settings = tiny.config(*SIX, "privacy.epsilon=3.0")
    run, _ = tiny.trained(settings, NAME)
    protection = tiny.protection(NAME, settings)
    assert protection.shares is not None
    total = protection.shares.at(len(run.final))
    wanted = total.epsilon(settings.privacy.delta, rounds=settings.training.rounds)
    (account,) = run.accounts
    assert wanted <= account.epsilon <= min(3.0, 1.001 * wanted)
    assert (account.unit, account.releases) == ("client", 3)


def test_an_aborted_round_releases_nothing_and_is_spent() -> None:
    settings = tiny.config(*SIX, "federation.dropout=0.33")

    def many(seed: int) -> bool:
        fed = tiny.federation(settings)
        gone = draw_vanishing(fed.clients, settings, seed=seed, index=1)
        return len(gone) > 4

    seed = next(seed for seed in range(1000) if many(seed))
    run, _ = tiny.trained(settings, NAME, seed=seed)
    assert run.rounds[1].aborted
    assert run.rounds[1].loss == run.rounds[0].loss, "not even noise was released"
    (account,) = run.accounts
    assert account.releases == 3


@pytest.mark.parametrize(
    ("sets", "why"),
    [
        (("privacy.allow_useless=false",), "below 50 clients"),
        (
            (
                "privacy.allow_useless=false",
                "federation.clients=60",
                "federation.corrupt=20",
                "federation.drop=15",
            ),
            "only 25 honest",
        ),
        (
            (
                "federation.clients=20",
                "federation.participation=0.5",
                "federation.dropout=0.2",
                "federation.drop=3",
            ),
            "all 20 enrolled clients upload",
        ),
        (
            (
                "privacy.epsilon=0.0001",
                "privacy.distributed.value_bits=24",
            ),
            "variance above",
        ),
        (
            (
                "privacy.distributed.noise=skellam",
                "privacy.epsilon=0.01",
            ),
            "variance above",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(
    sets: tuple[str, ...], why: str
) -> None:
    with pytest.raises(UnavailableError, match=why):
        tiny.protection(NAME, tiny.config(*sets))


def test_no_noise_in_shares_without_all_who_are_enrolled() -> None:
    protection = tiny.protection(NAME, tiny.config(*SIX))
    few = {f"c{i}": np.zeros(LENGTH, np.float32) for i in range(6)}
    masks = protection.aggregator(6)
    for count in (5, 7):
        given = dict(list(few.items())[:count]) | (
            {"c6": few["c0"]} if count == 7 else {}
        )
        with pytest.raises(secagg.ParameterError, match="enrolled"):
            masks.aggregate(
                given,
                dict.fromkeys(given, 1),
                context=bytes(32),
                session=b"s",
                seed=bytes(32),
            )


@pytest.mark.parametrize("length", [1, 20, 64, 83])
def test_everything_is_sized_together_for_every_length(length: int) -> None:
    protection = tiny.protection(NAME, tiny.config(*SIX))
    shares = protection.shares
    assert shares is not None
    total, plan = shares.at(length), shares.plan(length)
    assert plan.honest_min == total.honest == shares.honest
    assert plan.encoder.noise_bound >= total.noise.bound
    assert plan.encoder.ring_bits(6) >= total.ring_bits(6)
    numbers = plan.encoder.at(length)
    assert numbers.rotated == (length >= rotation.LEAST)
    assert total.integers.linf_bound == numbers.linf_bound
    # No update that passes the norm check is longer than what is accounted for.
    spike = np.zeros(length, np.float32)
    spike[0] = shares.clip_norm_l2
    if numbers.rotated:
        rotation_of(plan.encoder, length, bytes(32)).apply(spike)
    assert np.linalg.norm(spike * numbers.scale) <= total.integers.l2_bound


def test_canaries_catch_noise_that_everybody_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny.config(
        "federation.clients=20",
        "federation.drop=3",
        "federation.dropout=0.02",
        "privacy.epsilon=1.0",
        "attacks.canaries=40",
        "training.rounds=1",
    )
    trial = Trial(
        protection=tiny.protection(NAME, settings),
        federation=tiny.federation(settings),
        config=settings,
        seed=0,
    )

    def bound() -> float:
        found = canaries.play(trial)
        return one_run_audit(found.scores, found.included, delta=1e-5).value

    sound = bound()
    monkeypatch.setattr(
        DiscreteGaussian, "draw", lambda self, length, rng: np.zeros(length, np.int64)
    )
    assert sound <= 1.0 < bound()


def test_the_page_states_relation_accountant_and_whom_nobody_trusts() -> None:
    settings = tiny.config(*SIX, "privacy.epsilon=4.0")
    protection = tiny.protection(NAME, settings)
    run, fed = tiny.trained(settings, NAME)
    evidence = Evidence(
        repeats=[
            Repeat(
                seed=0,
                runs={NAME: run},
                federations={NAME: fed},
                baseline=baselines(fed, settings, seed=0),
            )
        ]
    )
    (row,) = guarantees.bounds([protection], evidence, settings)
    (spent,) = guarantees.ledger([protection], evidence, settings)
    assert row.relation == spent.relation == "zero out one"
    assert row.unit == spent.unit == "client"
    assert row.accountant is not None and row.accountant.startswith("PLD")
    assert row.epsilon_upper == spent.epsilon_spent <= 4.0
    (made,) = guarantees.statements([protection], evidence, settings)
    said = " ".join(made.sentences)
    total = protection.shares.at(len(run.final))  # type: ignore[union-attr]
    for words in (
        "'zero out one'",
        "puts in zeros",
        "Nobody is trusted with the noise",
        "at most 1 colluding",
        f"variance {total.noise.variance}",
        "those of 3 honest clients",
        "does not clip",
        f"multiplier {repr(total.noise_multiplier)[:6]}:",
    ):
        assert words in said
    assert "real-valued" not in said, "the noise is exact"


def test_shadow_models_get_noise_of_the_same_size_in_the_clear() -> None:
    from fl.protection import in_the_clear

    protection = tiny.protection(NAME, tiny.config(*SIX))
    assert protection.shares is not None
    bare = in_the_clear(protection)
    squares, values = _spread(_play(bare), replace(bare))
    variance = 6 * protection.shares.at(LENGTH).noise.variance
    assert _as_claimed(squares, values, variance)
    assert dp.ACCOUNTANT != bare.accountant
