"""Attacks on shots: no truth before scoring, no failure dropped, a null beside all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks import (
    Adversary,
    Certificate,
    Field,
    InversionAttack,
    LinearInversion,
    LocalSteps,
    Observation,
    Reconstruction,
    Spear,
    commonest_row,
    quality,
)
from fl import scoring
from fl.config import Config
from fl.finding import Exact, Missing, Paired
from fl.inversion import (
    LABELS,
    MATCHED_RECORDS,
    Assault,
    applies,
    assault,
    battery,
    quick,
    together,
)
from fl.models import build, to_vector
from fl.outcomes import (
    CATEGORIES_RIGHT,
    NUMBERS_RIGHT,
    Attempt,
    Outcome,
    collect,
)
from fl.report import Verdict
from fl.shots import AS_CONFIGURED, Shot, from_run, from_worst_case
from fl.verdict import decide
from tests.fl import tiny


def _shots(
    name: str, settings: Config, *, batch: int = 1, trials: int = 1
) -> list[Shot]:
    return tiny.worst_shots(settings, name, trials=trials, batch=batch)


@pytest.fixture
def shot() -> Shot:
    return _shots("none", tiny.config())[0]


@dataclass
class _Fixed:
    """An attack that answers with what it is told to."""

    answer: Callable[[Observation], Tensor | None]
    seen: list[Observation] = field(default_factory=list)
    name: str = "fixed"
    needs: frozenset[str] = frozenset({"gradient"})
    uses: frozenset[str] = frozenset()

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        self.seen.append(observation)
        inputs = self.answer(observation)
        gave_up = inputs is None
        blank = torch.zeros((0, *observation.input_shape))
        return Reconstruction(
            inputs=blank if inputs is None else inputs,
            labels=None,
            certificate=Certificate.REFUSED if gave_up else Certificate.UNCERTIFIED,
            reason="gave up." if gave_up else "",
            objective=None,
            seconds=0.5,
        )


def _one(shot: Shot, attack: InversionAttack) -> Attempt:
    first = assault(Assault(shot=shot, attacks=(attack,)))[0]
    assert first.attack == attack.name
    return first


def test_poisoned_truth_changes_no_reconstruction(shot: Shot) -> None:
    poisoned = replace(shot, x=torch.rand_like(shot.x), y=(shot.y + 1) % 3)
    jobs = [Assault(shot=one, attacks=battery(4)) for one in (shot, poisoned)]
    seen, again = (assault(job) for job in jobs)
    assert len(seen) == sum(applies(one, shot) for one in battery(4)) + 1
    for one, other in zip(seen, again, strict=True):
        assert one.certified == other.certified
        if one.reconstruction is not None and other.reconstruction is not None:
            assert torch.equal(one.reconstruction.inputs, other.reconstruction.inputs)
    assert seen[0].metrics != again[0].metrics


FIELDS = (
    *(Field(name=f"f{j}", columns=(j,), numeric=True) for j in range(4)),
    Field(name="kind", columns=(4, 5), numeric=False),
)


def test_rows_of_a_table_are_scored_by_their_fields(shot: Shot) -> None:
    rows = replace(shot, fields=FIELDS)
    right = _one(rows, _Fixed(lambda _: shot.x)).metrics
    other = scoring._truth_and_nulls(shot)[1][0]
    wrong = _one(rows, _Fixed(lambda _: other)).metrics
    assert right[NUMBERS_RIGHT][0] == 1.0 and wrong[NUMBERS_RIGHT][1] == 1.0
    assert right[CATEGORIES_RIGHT][0] == 1.0
    assert not {NUMBERS_RIGHT, CATEGORIES_RIGHT} & set(
        _one(shot, LinearInversion()).metrics
    )


def test_the_commonest_row_is_what_a_row_must_beat(shot: Shot) -> None:
    rows = replace(shot, fields=FIELDS)
    common = commonest_row(shot.pool, FIELDS)
    found = _one(rows, _Fixed(lambda _: common[None])).metrics
    for name in (NUMBERS_RIGHT, CATEGORIES_RIGHT):
        assert found[name][0] <= found[name][1]


def test_an_attack_is_handed_the_observation_and_nothing_else(shot: Shot) -> None:
    attack = _Fixed(lambda o: torch.zeros((1, *o.input_shape)))
    _one(shot, attack)
    assert attack.seen == [shot.observation]


def test_the_truth_itself_scores_as_exact_and_another_record_does_not(
    shot: Shot,
) -> None:
    right = _one(shot, _Fixed(lambda _: shot.x))
    assert right.exact == (True, False)
    assert right.metrics["PSNR (dB)"][0] == quality.PSNR_CAP_DB
    other = scoring._truth_and_nulls(shot)[1][0]
    wrong = _one(shot, _Fixed(lambda _: other))
    assert wrong.exact == (False, True)
    assert wrong.metrics["PSNR (dB)"][0] < wrong.metrics["PSNR (dB)"][1]


def test_a_refusal_counts_as_a_failure_worth_no_more_than_its_null() -> None:
    shots = [
        shot
        for shot in _shots("none", tiny.config(), trials=4)
        if Adversary.SERVER in shot.adversaries
    ]
    outcomes = []
    for number, shot in enumerate(shots):
        gives_up = number < 3
        attempt = _one(shot, _Fixed(lambda _, s=shot, g=gives_up: None if g else s.x))
        assert bool(attempt.refused) == gives_up
        outcomes.append(Outcome(shot=shot, attempt=attempt))
    server = [f for f in collect(outcomes) if f.adversary is Adversary.SERVER]
    (finding,) = server
    assert finding.n_failed == 3
    paired, exact = finding.measures
    assert isinstance(paired, Paired) and isinstance(exact, Exact)
    assert len(paired.values) == len(paired.nulls) == len(exact.hits) == 4
    assert exact.hits.tolist() == [False, False, False, True]
    # Nothing was handed in: a grey record is scored, for truth and null alike.
    grey = torch.full((1, 6), 0.5)
    for shot, value in zip(shots[:3], paired.values, strict=False):
        assert value == pytest.approx(quality.psnr(grey, shot.x, data_range=1.0))


def test_an_attack_that_never_applies_is_not_measured_and_says_why(shot: Shot) -> None:
    outcome = Outcome(shot=shot, attempt=_one(shot, _Fixed(lambda _: None)))
    (measure,) = collect([outcome])[0].measures
    assert measure == Missing(metric="PSNR (dB)", why="gave up.")


def test_one_finding_per_adversary_view_and_attack() -> None:
    settings = tiny.config()
    outcomes = [
        Outcome(shot=shot, attempt=attempt)
        for shot in _shots("secagg", settings, trials=3)
        for attempt in assault(Assault(shot=shot, attacks=(LinearInversion(),)))
    ]
    found = collect(outcomes)
    keys = {(f.adversary, f.view, f.attack) for f in found}
    # Two at the masked upload, two at the sum, one at what colluders leave of it, and
    # one client at what its own share leaves of the released change.
    assert len(keys) == len(found) == 6 * 2
    assert {
        len(f.measures[0].values) for f in found if isinstance(f.measures[0], Paired)
    } == {3}
    seconds = [o.attempt.seconds for o in outcomes]
    seen = {Adversary.SERVER_PLUS, Adversary.CLIENT}
    assert sum(f.seconds for f in found if f.adversary in seen) == pytest.approx(
        sum(seconds)
    )


def test_truth_and_nulls_are_equally_many_and_share_no_value() -> None:
    settings = tiny.config()
    for batch in (1, 4):
        for shot in _shots("secagg", settings, batch=batch):
            truth, sets = scoring._truth_and_nulls(shot)
            rows = {tuple(row) for row in shot.x.flatten(1).tolist()}
            for one in sets:
                assert one.shape == truth.shape
                assert not rows & {tuple(row) for row in one.flatten(1).tolist()}


def test_a_view_larger_than_the_pool_is_scored_on_as_many_as_the_pool_has(
    shot: Shot,
) -> None:
    wide = replace(shot, x=torch.rand(90, 6), y=torch.zeros(90, dtype=torch.int64))
    truth, sets = scoring._truth_and_nulls(wide)
    assert len(truth) == len(sets[0]) == len(shot.pool) < 90


def test_matching_searches_for_a_part_of_a_large_view_and_no_more() -> None:
    settings = tiny.config("training.batch_size=40", "training.rounds=1")
    run, fed = tiny.trained(settings, "none", raw=tiny.dataset(records=400))
    shots = list(from_run(run, fed, tiny.protection("none", settings), settings))
    whole = shots[0]
    assert whole.scenario == AS_CONFIGURED
    assert (whole.observation.records or 0) > MATCHED_RECORDS
    attack = _Fixed(lambda o: torch.zeros((o.records or 1, *o.input_shape)))
    assert applies(attack, whole)
    _one(whole, attack)
    assert MATCHED_RECORDS / 2 < (attack.seen[0].records or 0) <= MATCHED_RECORDS


def test_matching_leaves_out_large_sums_and_what_a_proof_covers() -> None:
    settings = tiny.config("training.rounds=1")
    exact = LinearInversion()
    # Repeating local steps is for lone uploads of several.
    matching = [
        one
        for one in battery(4)
        if one not in quick(battery(4)) and not isinstance(one, LocalSteps)
    ]
    assert matching
    for shot in tiny.own_shots(settings, "secagg") + _shots("secagg", settings):
        assert applies(exact, shot)
        summed = shot.observation.clients_summed > 1
        small = (shot.observation.records or 0) <= MATCHED_RECORDS
        for attack in matching:
            assert applies(attack, shot) == (summed and small)
        assert (shot.prevented is None) == summed


def test_spear_is_asked_for_small_batches_behind_a_relu_and_for_nothing_else() -> None:
    spear = next(one for one in battery(4) if isinstance(one, Spear))
    settings = tiny.config("model.hidden=[64]")
    (batch, _) = tiny.worst_shots(settings, "none", batch=2)
    assert applies(spear, batch)
    (attempt, _) = assault(Assault(shot=batch, attacks=(spear,)))
    assert attempt.exact == (True, False)
    (single, _) = tiny.worst_shots(settings, "none")
    bent = replace(
        batch,
        observation=replace(
            batch.observation,
            model=torch.nn.Sequential(
                torch.nn.Flatten(),
                torch.nn.Linear(6, 64),
                torch.nn.Sigmoid(),
                torch.nn.Linear(64, 3),
            ),
            gradient=None,
        ),
    )
    covered = replace(batch, prevented="a proof")
    for shot in (single, bent, covered):
        assert not applies(spear, shot)


def test_shots_done_together_have_the_outcomes_of_each_alone() -> None:
    shots = _shots("none", tiny.config(), trials=2)
    jobs = [Assault(shot=shot, attacks=battery(3)) for shot in shots]
    jobs[0] = replace(jobs[0], attacks=quick(jobs[0].attacks))
    found = together(jobs)
    alone = [(job.shot, one) for job in jobs for one in assault(job)]
    for outcome, (shot, one) in zip(found, alone, strict=True):
        assert (outcome.shot.view, outcome.attempt.attack) == (shot.view, one.attack)
        for metric, pair in one.metrics.items():
            assert outcome.attempt.metrics[metric] == pytest.approx(pair, abs=1e-3)


def test_the_blind_label_guess_is_the_best_one_without_a_message() -> None:
    # Nine in ten records have label 2: a guess of that label is right nine times in ten
    # without any message, and no attack on noise may be compared with less.
    settings = tiny.config()
    for shot in _shots("none", settings, trials=2):
        skewed = replace(
            shot,
            prior=torch.tensor([1, 2, 27]),
            y=torch.tensor([2]),
        )
        attempt = assault(Assault(shot=skewed, attacks=()))[0]
        assert attempt.attack == LABELS
        assert attempt.metrics["labels right (fraction)"][1] == 1.0


def test_the_blind_guess_knows_the_held_out_labels_only() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    for shot in _shots("none", settings):
        counts = np.bincount(fed.held_out.y.numpy(), minlength=3)
        found = shot.prior / shot.prior.sum()
        assert found.tolist() == pytest.approx((counts / counts.sum()).tolist())


def test_noise_is_no_leak_where_one_class_is_rare() -> None:
    # Nine in ten records have label 1. A guess of label 0, or of both alike, would be
    # beaten by labels read off pure noise; the best blind guess is not.
    settings = tiny.config("model.kind=logreg")
    raw = tiny.dataset(records=200, classes=2)
    raw.labels[:] = (np.arange(200) % 10 != 0).astype(np.int64)
    fed = tiny.federation(settings, "secagg", raw=raw)
    start = to_vector(build(settings.model, fed.input_shape, fed.classes, 1))
    outcomes = [
        Outcome(shot=shot, attempt=attempt)
        for trial in range(64)
        for shot in from_worst_case(
            [("untrained", start)],
            fed,
            tiny.protection("secagg", settings),
            settings,
            batch=1,
            trial=trial,
            seed=0,
        )
        if shot.prevented
        for attempt in assault(Assault(shot=shot, attacks=()))
    ]
    rows = decide(collect(outcomes), seed=0)
    assert {row.n for row in rows} == {64}
    assert {row.verdict for row in rows} == {Verdict.PREVENTED}


def test_rounds_over_the_same_records_are_one_victim() -> None:
    settings = tiny.config()
    shots = tiny.own_shots(settings, "secagg")
    outcomes = [
        Outcome(shot=shot, attempt=attempt)
        for shot in shots
        for attempt in assault(Assault(shot=shot, attacks=(LinearInversion(),)))
    ]
    assert len({shot.number for shot in shots}) == settings.training.rounds
    sizes = {
        finding.view: len(finding.measures[0].values)
        for finding in collect(outcomes)
        if finding.attack == LinearInversion.name
    }
    assert sizes == {
        "one masked upload": 3,
        "sum of the cohort": 1,
        "change of the released model": 1,
        "the honest clients' sum": 1,
    }


def test_a_client_of_few_local_steps_has_them_repeated() -> None:
    settings = tiny.config(
        "training.local_epochs=2",
        "training.batch_size=4",
        "training.momentum=0.5",
        "training.rounds=1",
        "data.test_fraction=0.5",
    )
    raw = tiny.dataset(records=60)
    run, fed = tiny.trained(settings, "none", raw=raw)
    chosen = tiny.protection("none", settings)
    shots = list(from_run(run, fed, chosen, settings))
    attack = battery(4)[-1]
    (alone,) = [shot for shot in shots if applies(attack, shot)]
    seen = alone.observation
    assert (seen.lr, seen.momentum, seen.epochs) == (0.2, 0.5, 2)
    assert (seen.steps, seen.batch_size, alone.step_records) == (4, len(alone.x), 4)
    found = {one.attack: one for one in assault(Assault(shot=alone, attacks=(attack,)))}
    result = found[attack.name].reconstruction
    assert result is not None and not found[attack.name].refused
    assert len(result.inputs) == 8  # two steps of four records make an epoch
    assert all(shot.observation.clients_summed > 1 for shot in shots if shot != alone)


def test_steps_that_are_no_sgd_tell_no_rate() -> None:
    settings = tiny.config("training.optimizer=adam", "training.learning_rate=0.01")
    run, fed = tiny.trained(settings, "none")
    chosen = tiny.protection("none", settings)
    for shot in from_run(run, fed, chosen, settings):
        seen = shot.observation
        assert (seen.lr, seen.momentum, seen.epochs) == (None, None, None)
        assert not applies(battery(4)[-1], shot)
