"""Cohorts by coins, and sums of just those who joined and uploaded."""

from __future__ import annotations

import numpy as np
import pytest

import secagg
from fl.config import Config
from fl.federation import Client
from fl.protection import Protection
from fl.round import STEPS, Snapshot, aggregate, draw_cohort, draw_vanishing
from fl.summing import collect, collect_all
from secagg.aggregator import Aggregate
from tests.fl import tiny

CENTRAL = ("central-dp", "secagg+central-dp")
EVERY = ("none", "secagg", "he-bfv", "dp-sgd", *CENTRAL)
LENGTH = 40


def _updates(names: list[str], bound: float = 1.0) -> dict[str, np.ndarray]:
    """A vector of norm below ``bound`` for each client, whoever else is there."""
    made = {}
    for name in names:
        own = np.random.default_rng(int(name[1:])).normal(size=LENGTH)
        made[name] = (0.9 * bound * own / np.linalg.norm(own)).astype(np.float32)
    return made


def _play(
    protection: Protection,
    settings: Config,
    names: list[str],
    vanish: dict[str, str],
    *,
    index: int = 0,
) -> Snapshot:
    updates = _updates(names)
    return aggregate(
        updates,
        dict.fromkeys(updates, 1),
        np.zeros(LENGTH, np.float32),
        protection,
        settings,
        vanish=vanish,
        seed=0,
        name=("test", index),
    )


def _uploaded(names: list[str], vanish: dict[str, str]) -> set[str]:
    """Oracle: whoever is there at the step in which vectors are sent, was heard."""
    late = STEPS.index("masked_input")
    return {n for n in names if STEPS.index(vanish.get(n, STEPS[-1])) > late}


NAMES = [f"c{number}" for number in range(7)]
FATES = {
    "all stay": (NAMES, {}),
    "fewer than the plan": (NAMES[:2], {}),
    "one alone": (NAMES[:1], {}),
    "a planned loss": (NAMES, {"c1": "masked_input"}),
    "a loss after the upload": (NAMES, {"c1": "unmask", "c2": "share_keys"}),
    "too many losses": (
        NAMES,
        {"c0": "advertise_keys", "c1": "masked_input", "c2": "share_keys"},
    ),
    "most losses after the upload": (
        NAMES,
        dict.fromkeys(NAMES[:5], "unmask") | {"c6": "masked_input"},
    ),
    "few, and one lost": (NAMES[:3], {"c1": "share_keys"}),
}


@pytest.mark.parametrize("case", FATES)
@pytest.mark.parametrize("name", CENTRAL)
def test_the_sum_is_that_of_all_who_uploaded(name: str, case: str) -> None:
    # The plan serves 4 clients or more and survives the loss of one.
    settings = tiny.config("federation.clients=7")
    protection = tiny.protection(name, settings)
    names, vanish = FATES[case]
    inside = _uploaded(names, vanish)
    found = _play(protection, settings, names, vanish).aggregate
    assert found.survivors == inside
    assert found.weight == len(inside)
    wanted = np.sum([_updates(names)[one].astype(float) for one in inside], axis=0)
    total = found.mean.astype(float) * found.weight
    assert np.abs(total - wanted).max() <= protection.sum_error
    assert np.abs(total / found.weight - wanted / len(inside)).max() <= found.max_error


@pytest.mark.parametrize("case", FATES)
@pytest.mark.parametrize("name", CENTRAL)
def test_one_client_more_changes_the_sum_by_its_own_update_alone(
    name: str, case: str
) -> None:
    settings = tiny.config("federation.clients=8")
    protection = tiny.protection(name, settings)
    central = protection.central
    assert central is not None
    names, vanish = FATES[case]
    without, joined = (
        _play(protection, settings, cohort, vanish)
        for cohort in (names, [*names, "c7"])
    )
    assert joined.aggregate.survivors == without.aggregate.survivors | {"c7"}
    # The noise is the same under one seed, so what is released differs by the update.
    moved = (joined.released - without.released).astype(float) * central.denominator
    own = _updates(["c7"])["c7"]
    slack = 2 * protection.sum_error + 1e-5
    assert np.abs(moved - own).max() <= slack
    assert np.linalg.norm(moved) <= central.sensitivity(LENGTH, protection.sum_error)


def test_absent_clients_are_strangers_to_the_result() -> None:
    settings = tiny.config("federation.clients=7")
    protection = tiny.protection("secagg+central-dp", settings)
    found = _play(protection, settings, NAMES[:2], {}).aggregate
    assert found.survivors == {"c0", "c1"}
    mean = np.mean([one for one in _updates(NAMES[:2]).values()], axis=0)
    np.testing.assert_allclose(found.mean, mean, atol=found.max_error)


def test_where_nobody_uploads_the_noise_alone_is_released() -> None:
    settings = tiny.config(
        "federation.participation=0.5",
        "federation.clients=6",
        "federation.corrupt=0",
        "training.rounds=8",
    )
    fed = tiny.federation(settings)

    def empty(seed: int) -> list[int]:
        return [
            index
            for index in range(8)
            if not draw_cohort(fed, settings, seed=seed, index=index)
        ]

    seed = next(seed for seed in range(200) if empty(seed))
    runs = [tiny.trained(settings, name, seed=seed)[0] for name in CENTRAL]
    for run in runs:
        assert [one.index for one in run.rounds if one.aborted] == empty(seed)
        assert run.accounts[0].releases == 8
        index = empty(seed)[0]
        if index > 0:
            before, after = run.rounds[index - 1], run.rounds[index]
            assert before.loss != after.loss, "an empty round must not be told apart"


def test_a_plan_without_noise_refuses_a_small_cohort() -> None:
    settings = tiny.config("federation.clients=7")
    with pytest.raises(secagg.AbortError) as caught:
        _play(tiny.protection("secagg", settings), settings, NAMES[:3], {})
    assert (caught.value.need, caught.value.have) == (4, 3)


def test_a_sum_of_nobody_is_an_abort() -> None:
    calls: list[int] = []

    def send(updates: object, weights: object, **named: object) -> Aggregate:
        calls.append(1)
        raise secagg.AbortError("none.", step="masked_input", need=2, have=0)

    vanish = dict.fromkeys(NAMES, "share_keys")
    with pytest.raises(secagg.AbortError):
        collect_all(send, _updates(NAMES), smallest=4, vanish=vanish)  # type: ignore[arg-type]
    assert calls == [1], "nobody is left to play it again"


def test_a_second_attempt_uses_masks_of_its_own() -> None:
    settings = tiny.config("federation.clients=7")
    seen: list[tuple[bytes, bytes]] = []

    class Notes:
        name = "notes"

        def aggregate(self, *given: object, **named: object) -> Aggregate:
            session, seed = named["session"], named["seed"]
            assert isinstance(session, bytes) and isinstance(seed, bytes)
            seen.append((session, seed))
            return secagg.PlainSum().aggregate(*given, **named)  # type: ignore[arg-type]

    updates = _updates(NAMES)
    for attempt in (0, 1):
        collect(
            updates,
            dict.fromkeys(updates, 1),
            aggregator=lambda _: Notes(),
            smallest=4,
            context=bytes(32),
            vanish={},
            seed=settings.seed,
            name=("test", 0),
            attempt=attempt,
        )
    assert len({one for one, _ in seen}) == len({two for _, two in seen}) == 2


def test_coins_are_each_clients_own_and_the_same_under_every_protection() -> None:
    settings = tiny.config(
        "federation.clients=8", "federation.participation=0.5", "federation.corrupt=0"
    )
    fed = tiny.federation(settings)
    drawn = [
        {client.name for client in draw_cohort(fed, settings, seed=3, index=index)}
        for index in range(500)
    ]
    counts = np.array([[name in one for one in drawn] for name in sorted(_names(fed))])
    # 4000 coins of 0.5: a deviation of 0.008 over all, 0.022 for one client.
    assert abs(counts.mean() - 0.5) < 0.04
    assert np.abs(counts.mean(axis=1) - 0.5).max() < 0.11
    sizes = counts.sum(axis=0)
    assert sizes.var() == pytest.approx(8 * 0.25, rel=0.3)  # binomial, not of one size
    off = np.corrcoef(counts)[~np.eye(8, dtype=bool)]
    assert np.abs(off).max() < 0.2
    for name in EVERY:
        run, _ = tiny.trained(settings, name, seed=3)
        for record in run.rounds:
            assert record.aborted or record.survivors == len(drawn[record.index])


def _names(fed: object) -> list[str]:
    return [client.name for client in fed.clients]  # type: ignore[attr-defined]


def test_who_joins_does_not_depend_on_what_anybody_holds() -> None:
    settings = tiny.config(
        "federation.clients=8", "federation.participation=0.5", "federation.corrupt=0"
    )
    one = tiny.federation(settings, raw=tiny.dataset(records=120))
    other = tiny.federation(settings, raw=tiny.dataset(records=200, seed=9))
    for index in range(20):
        first, second = (
            [c.name for c in draw_cohort(fed, settings, seed=0, index=index)]
            for fed in (one, other)
        )
        assert first == second


def _stub(name: str) -> Client:
    fed = tiny.federation(tiny.config())
    return Client(name=name, x=fed.held_out.x, y=fed.held_out.y, ids=fed.held_out.ids)


def test_a_clients_fate_does_not_hang_on_who_else_joined() -> None:
    settings = tiny.config("federation.dropout=0.1", "federation.clients=8")
    clients = [_stub(name) for name in NAMES]
    for index in range(60):
        whole = draw_vanishing(clients, settings, seed=0, index=index)
        part = draw_vanishing(clients[1:], settings, seed=0, index=index)
        without = {name: step for name, step in whole.items() if name != "c0"}
        assert part == without
