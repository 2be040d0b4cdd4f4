"""From raw findings to five words: intervals that hold together, words that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from attacks import Adversary, Estimate, clopper_pearson, mean_interval
from fl.finding import Exact, Finding, Group, Measure, Missing, Paired, Ranking
from fl.holm import step_down
from fl.report import LeakageRow, Verdict
from fl.verdict import FAMILY_ERROR, decide

RULE = "masks make it uniform; assumes at most 1 colluding client."


def _finding(
    *measures: Measure,
    prevented: str | None = None,
    adversary: Adversary = Adversary.SERVER,
    view: str = "one upload",
    n_failed: int = 0,
) -> Finding:
    return Finding(
        protection="none",
        adversary=adversary,
        view=view,
        scenario="as configured",
        attack="made up",
        measures=measures,
        seeds=(0,),
        n_failed=n_failed,
        seconds=1.0,
        prevented=prevented,
    )


def _paired(values: Sequence[float], nulls: Sequence[float] | None = None) -> Paired:
    return Paired(
        metric="SSIM",
        support=(-1.0, 1.0),
        values=np.array(values, dtype=np.float64),
        nulls=np.zeros(len(values)) if nulls is None else np.array(nulls),
    )


def _exact(hits: int, of: int, nulls: int = 0, certified: int = 0) -> Exact:
    return Exact(
        hits=np.arange(of) < hits, nulls=np.arange(of) < nulls, certified=certified
    )


def _ranking(
    shift: float, *, records: int = 200, seed: int = 0, fpr: float | None = None
) -> Ranking:
    rng = np.random.default_rng(seed)
    members = np.arange(records) % 2 == 0
    group = Group(
        scores=rng.normal(size=records) + shift * members,
        members=members,
        records=np.arange(records),
    )
    return Ranking(groups=(group,), fpr=fpr)


def _only(*findings: Finding) -> LeakageRow:
    (row,) = decide(findings, seed=0)
    return row


FOUND = tuple(np.linspace(0.8, 0.9, 12))
NOTHING = tuple(np.linspace(-0.3, 0.3, 12))


def test_the_error_of_a_page_is_shared_by_its_undecided_measures() -> None:
    for count in (1, 3, 40):
        rows = decide(
            [_finding(_paired(NOTHING), view=f"v{i}") for i in range(count)], seed=0
        )
        for row in rows:
            assert row.confidence == pytest.approx(1 - FAMILY_ERROR / count)


def test_rankings_and_the_rest_spend_half_of_the_error_each() -> None:
    findings = [
        _finding(_paired(NOTHING), _exact(0, 12)),
        _finding(_ranking(0.0), _ranking(0.0, fpr=0.1), view="released model"),
        _finding(Missing(metric="-", why="nobody looked."), view="other"),
        _finding(_paired(NOTHING[::-1]), view="third"),
    ]
    rows = decide(findings, seed=0)
    spent = {
        kind: sum(
            1 - row.confidence
            for row in rows
            if row.confidence is not None
            and row.metric.startswith(("AUC", "TPR")) == kind
        )
        for kind in (True, False)
    }
    assert spent == {
        True: pytest.approx(FAMILY_ERROR / 2),
        False: pytest.approx(FAMILY_ERROR / 2),
    }


def test_a_measure_that_two_adversaries_share_is_one_test() -> None:
    shared = _ranking(0.0)
    sample = _paired(NOTHING)
    findings = [
        _finding(measure, adversary=adversary)
        for adversary in (Adversary.SERVER, Adversary.SERVER_PLUS)
        for measure in (shared, sample)
    ]
    rows = decide(findings, seed=0)
    assert len(rows) == 4
    assert {row.confidence for row in rows} == {1 - FAMILY_ERROR / 2}


def test_the_interval_is_that_of_the_difference_from_the_null() -> None:
    rng = np.random.default_rng(0)
    values, nulls = rng.normal(0.3, 0.1, 12), rng.normal(0.25, 0.1, 12)
    row = _only(_finding(_paired(values.tolist(), nulls.tolist())))
    wanted = mean_interval((values - nulls).tolist(), 1 - FAMILY_ERROR)
    assert row.value == pytest.approx(values.mean())
    assert row.null == pytest.approx(nulls.mean())
    assert row.low == pytest.approx(nulls.mean() + wanted.low)
    assert row.high == pytest.approx(nulls.mean() + wanted.high)
    assert row.n == 12


def test_the_five_words() -> None:
    assert _only(_finding(_exact(3, 12, certified=2))).verdict is Verdict.RECOVERED
    assert _only(_finding(_paired(FOUND))).verdict is Verdict.LEAKS
    assert _only(_finding(_paired(NOTHING))).verdict is Verdict.NOT_DETECTED
    held = _only(_finding(_paired(NOTHING), prevented=RULE))
    assert (held.verdict, held.why) == (Verdict.PREVENTED, RULE)
    missing = _only(_finding(Missing(metric="AUC", why="no canaries.")))
    assert (missing.verdict, missing.why) == (Verdict.NOT_MEASURED, "no canaries.")
    assert missing.n == 0 and missing.value is None


def test_a_rule_never_hides_a_measurement_that_contradicts_it() -> None:
    leaks = _only(_finding(_paired(FOUND), prevented=RULE))
    assert leaks.verdict is Verdict.LEAKS
    exact = _only(_finding(_exact(12, 12), prevented=RULE))
    assert exact.verdict is Verdict.RECOVERED
    ranked = _only(_finding(_ranking(3.0), prevented=RULE))
    assert ranked.verdict is Verdict.LEAKS
    for row in (leaks, exact, ranked):
        assert "contradicts the rule" in row.why
        assert RULE in row.why


def test_an_interval_below_the_null_is_no_leak() -> None:
    row = _only(_finding(_paired([-value for value in FOUND])))
    assert row.verdict is Verdict.NOT_DETECTED


def test_exact_recoveries_carry_the_exact_interval_and_the_certificates() -> None:
    row = _only(_finding(_exact(5, 16, certified=4), n_failed=2))
    wanted = clopper_pearson(5, 16, 1 - FAMILY_ERROR)
    assert (row.value, row.low, row.high) == (wanted.value, wanted.low, wanted.high)
    assert row.why == "5 exact, 4 of them certified by the attack itself."
    assert (row.n, row.n_failed, row.null) == (16, 2, 0.0)


def test_exact_recoveries_that_others_have_too_are_chance() -> None:
    row = _only(_finding(_exact(6, 16, nulls=6)))
    assert row.verdict is Verdict.NOT_DETECTED
    assert row.why == "6 exact; 6 among strangers: not beyond coincidence."


def test_one_record_proves_a_recovery_if_certified_and_a_coincidence_if_not() -> None:
    certified = _only(_finding(_exact(1, 16, certified=1)))
    assert certified.verdict is Verdict.RECOVERED
    chance = _only(_finding(_exact(1, 16)))
    assert chance.verdict is Verdict.NOT_DETECTED
    assert "not beyond coincidence" in chance.why
    # A certificate without a record that came back proves nothing.
    assert _only(_finding(_exact(0, 16, certified=1))).verdict is Verdict.NOT_DETECTED


@pytest.mark.parametrize("strangers", [1, 9, 99])
def test_the_more_strangers_are_asked_the_fewer_hits_it_takes(strangers: int) -> None:
    """Oracle: the sign test, at a half of the page's error for the two sides."""
    for hits in range(1, 17):
        exact = Exact(
            hits=np.arange(16) < hits,
            nulls=np.zeros(16, dtype=bool),
            certified=0,
            strangers=strangers,
        )
        p = (1 / (1 + strangers)) ** hits
        found = _only(_finding(exact)).verdict is Verdict.RECOVERED
        assert found == (p < FAMILY_ERROR / 2)


def test_no_recovery_says_which_rate_would_have_shown_one() -> None:
    exact = Exact(
        hits=np.zeros(16, dtype=bool),
        nulls=np.zeros(16, dtype=bool),
        certified=0,
        strangers=99,
    )
    row = _only(_finding(exact))
    assert row.verdict is Verdict.NOT_DETECTED
    assert row.min_detectable is not None
    # One of 16 settles it here, since 1 / 100 < 2.5 %: four times in five.
    assert 1 - (1 - row.min_detectable) ** 16 == pytest.approx(0.8)
    # With one set of strangers it takes six.
    few = _only(_finding(_exact(0, 16))).min_detectable
    assert few is not None
    assert stats.binom.sf(5, 16, few) == pytest.approx(0.8)
    # Of four victims not even all are enough.
    assert _only(_finding(_exact(0, 4))).min_detectable == 1.0


def test_records_of_one_person_are_one_piece_of_evidence() -> None:
    persons = np.repeat(np.arange(40), 20)
    rng = np.random.default_rng(9)  # by chance members are easier
    easy = rng.normal(size=40)[persons]  # some people's records are, under any model
    group = Group(
        scores=easy + rng.normal(size=len(persons)),
        members=persons < 20,
        records=np.arange(len(persons)),
    )
    plain = _only(_finding(Ranking(groups=(group,)), view="released model"))
    known = replace(group, persons=persons)
    fair = _only(_finding(Ranking(groups=(known,)), view="released model"))
    assert (plain.n, fair.n) == (800, 40)
    assert plain.value == fair.value and plain.verdict is Verdict.LEAKS
    assert fair.verdict is Verdict.NOT_DETECTED


def test_one_victim_is_not_measured_rather_than_given_an_interval() -> None:
    row = _only(_finding(_paired([0.9])))
    assert row.verdict is Verdict.NOT_MEASURED
    assert "attacks.victims" in row.why


def test_a_rate_that_too_few_records_resolve_is_not_measured() -> None:
    row = _only(_finding(_ranking(3.0, records=100, fpr=0.01)))
    assert row.verdict is Verdict.NOT_MEASURED
    assert "1000 non-members" in row.why


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, Verdict.NOT_DETECTED), (2.0, Verdict.LEAKS)]
)
def test_a_ranking_leaks_if_members_score_higher(
    shift: float, verdict: Verdict
) -> None:
    row = _only(_finding(_ranking(shift)))
    assert row.verdict is verdict
    assert row.null == 0.5
    assert row.n == 200
    rate = _only(_finding(_ranking(shift, fpr=0.1)))
    assert rate.null == 0.1
    assert rate.n == 100
    assert rate.verdict is verdict


def _textbook_holm(p: Sequence[float], error: float) -> list[bool]:
    """Sort; reject while p_(i) < error / (m - i); stop at the first failure."""
    found = [False] * len(p)
    for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] >= error / (len(p) - step):
            break
        found[i] = True
    return found


@pytest.mark.parametrize("seed", range(30))
def test_stepping_down_through_intervals_is_holm_on_p_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [
        rng.normal(rng.choice([0.0, 0.5, 1.0, 2.0]), 1.0, int(rng.integers(5, 30)))
        for _ in range(15)
    ]
    counts = [(int(rng.integers(0, 31)), 30) for _ in range(15)]
    intervals: list[Callable[[float], Estimate]] = [
        *(partial(mean_interval, sample.tolist()) for sample in samples),
        *(partial(clopper_pearson, k, n) for k, n in counts),
    ]
    nulls = [0.0] * 15 + [0.4] * 15
    tests = [
        lambda c, i=i: (intervals[i](c).low > nulls[i], c)  # type: ignore[misc]
        for i in range(30)
    ]
    answers = step_down(tests, error=0.05, found=lambda one: one[0])
    # Both ends are shown, so each side has half: twice the one-sided p-value.
    p = [2 * stats.ttest_1samp(one, 0, alternative="greater").pvalue for one in samples]
    p += [2 * stats.binomtest(k, n, 0.4, "greater").pvalue for k, n in counts]
    wanted = _textbook_holm(p, 0.05)
    assert [found for found, _ in answers] == wanted
    # More than Bonferroni finds, on some of these pages (see the next test).
    assert sum(wanted) >= sum(one < 0.05 / 30 for one in p)
    # Those not found were asked at the level that all the findings left.
    left = {confidence for found, confidence in answers if not found}
    assert left <= {1 - 0.05 / (30 - sum(wanted))}


def test_a_leak_that_bonferroni_misses_is_found_after_the_others() -> None:
    rng = np.random.default_rng(3)
    clear = [_finding(_paired(FOUND), view=f"v{i}") for i in range(29)]
    sample = rng.normal(0, 1, 12)
    sample = 0.1 + 0.115 * (sample - sample.mean()) / sample.std(ddof=1)
    assert mean_interval(sample.tolist(), 1 - FAMILY_ERROR / 30).low < 0
    rows = decide([*clear, _finding(_paired(sample.tolist()), view="last")], seed=0)
    assert {row.verdict for row in rows} == {Verdict.LEAKS}
    assert rows[0].confidence == pytest.approx(1 - FAMILY_ERROR / 30)
    assert rows[-1].confidence == pytest.approx(1 - FAMILY_ERROR)


def test_a_row_has_the_interval_of_the_step_that_decided_it() -> None:
    nothing = [_finding(_paired(NOTHING), view=f"v{i}") for i in range(4)]
    found, *left = decide([_finding(_paired(FOUND)), *nothing], seed=0)
    assert found.confidence == pytest.approx(1 - FAMILY_ERROR / 5)
    assert {row.confidence for row in left} == {1 - FAMILY_ERROR / 4}
    wanted = mean_interval(list(NOTHING), 1 - FAMILY_ERROR / 4)
    assert left[0].low == pytest.approx(wanted.low)


def test_rankings_step_down_among_themselves() -> None:
    rankings = [_finding(_ranking(2.0, seed=i), view=f"v{i}") for i in range(3)]
    rows = decide([*rankings, _finding(_ranking(0.0), view="none")], seed=0)
    assert [row.verdict for row in rows] == [Verdict.LEAKS] * 3 + [Verdict.NOT_DETECTED]
    assert rows[0].confidence == pytest.approx(1 - FAMILY_ERROR / 4)
    assert rows[3].confidence == pytest.approx(1 - FAMILY_ERROR)


@pytest.mark.slow
def test_a_page_is_the_same_whoever_computes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = [_finding(_ranking(0.3, seed=i), view=f"v{i}") for i in range(8)]
    spread = decide(findings, seed=0)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert decide(findings, seed=0) == spread


def test_no_page_is_no_row() -> None:
    assert decide([], seed=0) == ()


@pytest.mark.slow
def test_of_many_rankings_without_a_leak_few_name_one() -> None:
    pages = 60
    named = sum(
        any(
            row.verdict is Verdict.LEAKS
            for row in decide(
                [
                    _finding(_ranking(0.0, seed=10 * page + i), view=f"v{i}")
                    for i in range(4)
                ],
                seed=page,
            )
        )
        for page in range(pages)
    )
    assert named <= 6
