"""What sums over overlapping cohorts reveal, against elimination with fractions."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import secagg
from secagg import rowspace
from secagg.errors import AbortError, ParameterError
from secagg.monitor import Release, check_release, participation

CONTEXT = secagg.context(b"model")
CLIENTS = range(8)
# A, B and A + B, but for one client that is in all: A + B - (A + B) is its input.
OVERLAP_OF_ONE = [{0, *range(1, 5)}, {0, *range(5, 9)}, set(range(9))]
cohorts = st.lists(
    st.frozensets(st.sampled_from(CLIENTS), min_size=1), min_size=1, max_size=6
)


def named(cohort):
    return frozenset(f"c{i}" for i in cohort)


def release(cohort, context=CONTEXT):
    return Release(context, named(cohort))


# --- the oracle: ranks by elimination with fractions, of everything -------------------


def rank(rows):
    rows = [[Fraction(entry) for entry in row] for row in rows]
    found = 0
    for column in range(len(rows[0]) if rows else 0):
        at = next((i for i in range(found, len(rows)) if rows[i][column]), None)
        if at is None:
            continue
        rows[found], rows[at] = rows[at], rows[found]
        for i in range(found + 1, len(rows)):
            by = rows[i][column] / rows[found][column]
            rows[i] = [x - by * y for x, y in zip(rows[i], rows[found], strict=True)]
        found += 1
    return found


def rows_of(some):
    return [[int(i in cohort) for i in CLIENTS] for cohort in some]


def oracle_determined(some):
    rows = rows_of(some)
    full = rank(rows)
    units = [[int(i == j) for j in CLIENTS] for i in CLIENTS]
    return {i for i in CLIENTS if rank([*rows, units[i]]) == full}


def oracle_lightest(some):
    """The fewest clients outside of which the sums lose rank: a combination on them."""
    rows = rows_of(some)
    full = rank(rows)
    for size in range(1, len(CLIENTS) + 1):
        for inside in combinations(CLIENTS, size):
            outside = [[row[i] for i in CLIENTS if i not in inside] for row in rows]
            if rank(outside) < full:
                return size
    raise AssertionError("a row of ones rests on somebody")


def passing(some, minimum):
    """The cohorts that are let pass, one after the other."""
    kept = []
    for cohort in some:
        try:
            check_release(release(cohort), map(release, kept), minimum)
        except AbortError:
            continue
        kept.append(cohort)
    return kept


# --- which inputs follow --------------------------------------------------------------


@settings(max_examples=80)
@given(cohorts)
@example([{0, 1}, {1, 2}, {0, 2}])  # halves: (A + B - C) / 2
@example([{0, 1, 2}, {3, 4}, {0, 1, 2, 3, 4}, {4, 5}])  # dependent rows
def test_exactly_the_inputs_that_some_combination_gives_are_reported(some):
    found = participation(named(cohort) for cohort in some)
    assert found.determined == named(oracle_determined(some))
    assert found.sums == len(some)
    assert found.cohorts == len({frozenset(cohort) for cohort in some})
    sides = [len(a - b) for a, b in product(map(frozenset, some), repeat=2) if a - b]
    assert found.smallest_difference == min(sides, default=None)


def test_three_sums_can_give_what_no_two_do():
    sums = [named(cohort) for cohort in OVERLAP_OF_ONE]
    for pair in combinations(sums, 2):
        assert not participation(pair).determined
    assert participation(sums).determined == {"c0"}


def test_a_client_out_of_one_sum_is_found_among_many():
    rng = np.random.default_rng(5)
    matrix = rng.random((50, 500)) < 0.5
    assert rowspace.single_columns(matrix) == frozenset()
    matrix[49] = matrix[0]
    matrix[49, 17] ^= True
    assert rowspace.single_columns(matrix) == {17}


def test_a_determinant_that_vanishes_modulo_a_prime_hides_nobody(monkeypatch):
    some = [{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}]  # determinant -3
    matrix = np.array(rows_of(some), bool)
    assert rowspace._units(matrix, 3)[0] == 3
    for primes in ((3, 5), (5, 3)):
        monkeypatch.setattr(rowspace, "_primes", lambda bits, p=primes: iter(p))
        assert (
            rowspace.single_columns(matrix) == {0, 1, 2, 3} == oracle_determined(some)
        )


def test_an_input_that_follows_only_modulo_a_prime_is_not_reported(monkeypatch):
    # (3, -1, -1, -1, -1, 1) is in no sum's way, but modulo 3 its first entry is 0.
    some = [{0, 1, 2, 3}, {0, 1, 2, 4}, {0, 1, 3, 4}, {0, 2, 3, 4}, {1, 5}, {2, 5}]
    matrix = np.array(rows_of(some), bool)
    assert rowspace._units(matrix, 3) == (5, {0})
    for primes in ((3, 5), (5, 3)):
        monkeypatch.setattr(rowspace, "_primes", lambda bits, p=primes: iter(p))
        assert rowspace.single_columns(matrix) == frozenset(oracle_determined(some))


def test_the_primes_outgrow_every_minor():
    for order in range(1, 6):
        largest = max(
            abs(round(np.linalg.det(m)))
            for m in np.random.default_rng(0).integers(0, 2, (3000, order, order))
        )
        assert np.log2(max(largest, 1)) <= rowspace._minor_bits(order) + 1e-9
    primes = list(rowspace._primes(200))
    assert all(pow(2, p - 1, p) == 1 and p < 2**31 for p in primes)
    assert np.prod([int(p) for p in primes], dtype=object) > 1 << 200
    assert len(set(primes)) == len(primes)


def test_the_report_is_a_sentence():
    assert str(participation([])) == "no sum was released."
    assert str(participation([{"a", "b"}] * 2)) == (
        "2 sums over 1 cohort: no single client's input is determined."
    )
    assert str(participation([{"a", "b", "c"}, {"a", "b"}])) == (
        "2 sums over 2 cohorts, smallest difference 1 client: the input of 1 client "
        "follows: c."
    )


@pytest.mark.parametrize("bad", ["abc", set()])
def test_what_is_no_cohort_is_refused(bad):
    with pytest.raises(ParameterError, match="collection of client names"):
        participation([bad])


# --- which sums are let pass ----------------------------------------------------------


@settings(max_examples=60)
@given(cohorts, st.integers(1, 4))
@example([{0, 1, 2, 3}, {0, 4, 5, 6}, {0, 1, 2, 3, 4, 5, 6}], 3)
def test_what_was_let_pass_isolates_nobody_and_no_small_group(some, minimum):
    kept = passing(some, minimum)
    if not kept:
        return
    assert oracle_lightest(kept) >= minimum
    if minimum > 1:
        assert not oracle_determined(kept)
    for a, b in product(kept, repeat=2):
        assert a == b or not 0 < len(a - b) < minimum


@settings(max_examples=60)
@given(cohorts, st.integers(1, 4))
def test_nothing_is_refused_without_need(some, minimum):
    *earlier, last = some
    kept = passing(earlier, minimum)
    sides = [len(s) for past in kept for s in (last - past, past - last) if s]
    harmless = min(sides, default=minimum) >= minimum
    harmless &= oracle_lightest([*kept, last]) >= minimum
    assert (passing([*kept, last], minimum) == [*kept, last]) == harmless


@pytest.mark.parametrize(
    ("earlier", "new", "have"),
    [
        (range(10), range(9), 1),  # one left
        (range(9), range(10), 1),  # one came
        (range(10), [*range(9), 10], 1),  # one came and one left
        (range(10), [*range(9), *range(10, 20)], 1),  # one left, ten came
        ([*range(9), *range(10, 20)], range(10), 1),  # ten left, one came
        (range(10), range(7), 3),
        (range(3), range(3), None),
        (range(10), range(6), None),
        (range(10), range(6, 20), None),
        (range(10), range(20, 30), None),
    ],
)
def test_cohorts_are_equal_or_differ_by_enough_on_each_side(earlier, new, have):
    past = [release(earlier)]
    if have is None:
        assert check_release(release(new), past, 4) is None
        return
    with pytest.raises(AbortError, match="sum exactly the same") as caught:
        check_release(release(new), past, 4)
    assert (caught.value.need, caught.value.have) == (4, have)


@pytest.mark.parametrize(("limit", "weight"), [(3, None), (4, None), (5, 4)])
def test_clients_are_counted_not_groups_of_them(limit, weight):
    # The difference is {3, 4} minus {5, 6}: two groups, four clients.
    matrix = np.array(rows_of([{0, 1, 2, 3, 4}, {0, 1, 2, 5, 6}]), bool)
    assert rowspace.lightest_below(matrix, limit) == weight


def test_releases_under_another_context_do_not_count():
    other = secagg.context(b"another model")
    check_release(release(range(9)), [release(range(10), other)], 4)


def test_a_combination_of_large_differences_is_refused():
    *earlier, last = map(release, OVERLAP_OF_ONE)
    for new, past in combinations([*earlier, last], 2):
        check_release(new, [past], 4)
    with pytest.raises(AbortError, match="rests on 1 client, at least 4") as caught:
        check_release(last, earlier, 4)
    assert (caught.value.need, caught.value.have) == (4, 1)


def test_whole_batches_may_be_summed_as_often_as_one_likes():
    # So et al.: cohorts that are unions of fixed batches of T clients.
    batches = [range(4 * i, 4 * i + 4) for i in range(12)]
    kept = []
    for pair in combinations(batches, 2):
        cohort = [client for batch in pair for client in batch]
        check_release(release(cohort), kept, 4)
        kept.append(release(cohort))
    assert len(kept) == 66


def test_what_cannot_be_ruled_out_is_refused():
    rng = np.random.default_rng(3)
    some = [np.flatnonzero(rng.random(60) < 0.5) for _ in range(25)]
    with pytest.raises(AbortError, match="too many to rule out"):
        for i, cohort in enumerate(some):
            check_release(release(cohort), map(release, some[:i]), 4)


@pytest.mark.parametrize(
    ("context", "cohort"), [(b"short", {"a"}), ("x" * 32, {"a"}), (CONTEXT, set())]
)
def test_a_release_without_context_or_cohort_cannot_be_written(context, cohort):
    with pytest.raises(ParameterError):
        Release(context, frozenset(cohort))


def test_a_search_that_would_take_too_long_gives_up(monkeypatch):
    from secagg import rowspace

    matrix = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], bool)
    assert rowspace.lightest_below(matrix, 4) == 3
    monkeypatch.setattr(rowspace, "MAX_SEARCH", 0)
    with pytest.raises(rowspace.GaveUp):
        rowspace.lightest_below(matrix, 4)
