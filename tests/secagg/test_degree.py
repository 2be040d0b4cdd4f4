"""The degrees of k-regular graphs against exact fractions, and against production."""

import json
from fractions import Fraction
from itertools import combinations, pairwise, product
from math import inf, log2
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.degree import Demand
from secagg.errors import ParameterError
from secagg.tails import all_marked_log2, lower_quantile, upper_quantile
from tests.secagg import harary_oracle as oracle

VECTORS = Path(__file__).parents[1] / "vectors" / "harary_degrees.json"
PRODUCTION = json.loads(VECTORS.read_text())
SLACK = Fraction(1, 2**20)

# (k, t) at sigma = 40 and eta = 30, worked out once by another implementation.
PAPERS = [
    (0.05, 0.05, False, {20: (4, 2), 100: (12, 6), 1000: (34, 18), 10**6: (44, 24)}),
    (0.1, 0.1, False, {50: (12, 6), 300: (42, 22), 10**5: (66, 35), 10**8: (80, 42)}),
    (0.2, 0.2, False, {20: (10, 5), 300: (80, 42), 10**4: (136, 71), 10**7: (170, 88)}),
    (0.1, 0.3, False, {20: (10, 3), 300: (74, 27), 1000: (102, 39), 10**6: (144, 55)}),
    (0.05, 0.05, True, {20: (4, 3), 300: (42, 29), 1000: (62, 43), 10**5: (80, 55)}),
    (
        0.1,
        0.1,
        True,
        {50: (16, 11), 300: (76, 52), 10**4: (144, 98)},
    ),
    (0.2, 0.2, True, {20: (14, 10), 300: (172, 116), 1000: (340, 229)}),
]


def rate(text, n):
    return int(Fraction(str(text)) * n)


def demand(n, corrupt, drop, lies=False, sigma=40, eta=30):
    return Demand(
        clients=n, corrupt=corrupt, drop=drop, server_lies=lies, sigma=sigma, eta=eta
    )


def as_words(asked):
    return {name: getattr(asked, name) for name in Demand.__slots__}


# --- against the oracle --------------------------------------------------------------


def small_demands():
    """All cohorts of 4 to 12 clients, with budgets loose enough to be spent."""
    for n in range(4, 13):
        for corrupt, drop in product(range(1, n), range(n)):
            if corrupt + drop > n - 2:
                continue
            for sigma, eta in ((1, 1), (3, 2), (7, 6), (40, 30)):
                yield from (demand(n, corrupt, drop, x, sigma, eta) for x in (0, 1))


def larger_demands():
    """Up to 60 clients; in the last ones the graph must not fall apart."""
    for n, a, d, lies in product((25, 40, 60), (1, 3, 6), (0, 1, 4), (False, True)):
        yield demand(n, n * a // 20, n * d // 20, lies, 10, 8)
    yield from (demand(n, 1, n // 3, False, 30, 1) for n in (40, 50, 60))


def mismatches(demands):
    """Return the demands for which the package differs from the oracle."""
    return [
        asked
        for asked in demands
        if asked.smallest() != oracle.smallest(**as_words(asked), slack=SLACK)
    ]


def test_the_smallest_degree_is_the_oracles_for_every_small_cohort():
    demands = list(small_demands())
    assert len(demands) > 1500
    assert mismatches(demands) == []
    found = {asked.smallest() for asked in demands}
    assert None in found and len(found) > 15


def test_the_smallest_degree_is_the_oracles_for_larger_cohorts():
    demands = list(larger_demands())
    assert len(demands) == 57
    assert mismatches(demands) == []


def test_what_is_accepted_is_never_bolder_than_the_exact_bounds():
    for asked in small_demands():
        for k in range(2, asked.clients - 1):
            for t in range(k + 1):
                if asked.accepts(k, t):
                    assert k % 2 == 0 and oracle.passes(k, t, **as_words(asked))


@pytest.mark.parametrize("plant", ["t1", "t2", "connected", "lies", "leap"])
def test_a_planted_mistake_of_one_is_caught_by_the_comparison(monkeypatch, plant):
    small = (asked for asked in small_demands() if asked.clients < 10)
    demands = [*small, *larger_demands()]
    honest = {
        name: getattr(Demand, name) for name in ("most_corrupt", "fewest_left", "_lack")
    }
    match plant:
        case "t1":
            wrong = lambda self, k: max(0, honest["most_corrupt"](self, k) - 1)  # noqa: E731
            monkeypatch.setattr(Demand, "most_corrupt", wrong)
        case "t2":
            wrong = lambda self, k: honest["fewest_left"](self, k) + 1  # noqa: E731
            monkeypatch.setattr(Demand, "fewest_left", wrong)
        case "connected":
            monkeypatch.setattr(Demand, "stays_connected", lambda self, k: True)
        case "lies":
            wrong = lambda self, k: (k + self.most_corrupt(k) + 1) // 2  # noqa: E731
            monkeypatch.setattr(Demand, "smallest_threshold", wrong)
        case "leap":
            wrong = lambda self, k: honest["_lack"](self, k) + 2  # noqa: E731
            monkeypatch.setattr(Demand, "_lack", wrong)
    assert mismatches(demands)


# --- the quantiles -------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_quantiles_are_those_of_the_exact_tails(data):
    population = data.draw(st.integers(1, 250))
    marked = data.draw(st.integers(0, population))
    draws = data.draw(st.integers(0, population))
    budget = data.draw(st.integers(1, 60))
    affordable = Fraction(1, 2**budget) / (1 + SLACK)
    high = upper_quantile(population, marked, draws, budget_log2=-budget)
    assert oracle.more_than(population, marked, draws, high) <= affordable
    assert high <= 0 or (
        oracle.more_than(population, marked, draws, high - 1) > affordable
    )
    low = lower_quantile(population, marked, draws, budget_log2=-budget)
    assert oracle.less_than(population, marked, draws, low) <= affordable
    assert low > draws or (
        oracle.less_than(population, marked, draws, low + 1) > affordable
    )


def test_a_tail_that_equals_its_budget_is_not_granted():
    # Pr[X > 0] = 1/2 when one of four is marked and two are drawn.
    assert upper_quantile(4, 1, 2, budget_log2=-1) == 1
    assert upper_quantile(4, 1, 2, budget_log2=log2(0.5 + 2.0**-19)) == 0
    assert lower_quantile(4, 3, 2, budget_log2=-1) == 1
    assert lower_quantile(4, 3, 2, budget_log2=log2(0.5 + 2.0**-19)) == 2


def test_the_chance_that_all_drawn_are_marked_is_rounded_up():
    for population, marked, draws in ((10, 5, 3), (1000, 700, 300), (200, 199, 100)):
        exact = log2(oracle.exactly(population, marked, draws, draws))
        got = all_marked_log2(population, marked, draws)
        assert exact < got < exact + 1e-2
    assert all_marked_log2(10, 3, 4) == -inf


def test_budgets_too_small_for_the_arithmetic_are_refused():
    for budget in (-513, 0, 1):
        with pytest.raises(ParameterError, match="out of range"):
            upper_quantile(10, 3, 4, budget_log2=budget)


def test_far_tails_agree_with_exact_ones_at_the_sizes_of_use():
    for population, marked, draws in ((10**6, 50_000, 44), (10**8, 2 * 10**7, 180)):
        t = upper_quantile(population, marked, draws, budget_log2=-68)
        affordable = Fraction(1, 2**68) / (1 + SLACK)
        assert oracle.more_than(population, marked, draws, t) <= affordable
        assert oracle.more_than(population, marked, draws, t - 1) > affordable


# --- published numbers ---------------------------------------------------------------


@pytest.mark.parametrize("threat", ["semi_honest", "malicious_server"])
def test_the_production_vectors_are_reproduced(threat):
    rows = [row for row in PRODUCTION["rows"] if row[3] == threat]
    assert len(rows) > 40
    for n, corrupt, drop, _, k, t in rows:
        lies = threat == "malicious_server"
        asked = demand(n, rate(corrupt, n), rate(drop, n), lies, 40, PRODUCTION["eta"])
        if (n, asked.corrupt, asked.drop, lies) == (10, 0, 3, False):
            # Production takes t = 2, though a client keeps one neighbour only when
            # the three that vanish are among its four: in one round of 30.
            assert (k, t) == (4, 2) and asked.fewest_left(k) == 1
            assert oracle.less_than(10, 7, 4, 2) == Fraction(1, 30)
            continue
        assert asked.smallest() == (k, t)
        assert not asked.accepts(k, t - 1) and not asked.accepts(k - 2, t)


@pytest.mark.parametrize(("corrupt", "drop", "lies", "expected"), PAPERS)
def test_the_degrees_at_the_papers_exponents_are_reproduced(
    corrupt, drop, lies, expected
):
    for n, (k, t) in expected.items():
        asked = demand(n, rate(corrupt, n), rate(drop, n), lies)
        assert asked.smallest() == (k, t)


def test_a_third_corrupt_and_a_third_gone():
    for n, found in {20: (14, 7), 300: (174, 89), 10**5: (558, 285)}.items():
        assert demand(n, n // 3, n // 3).smallest() == found


# --- the theorem itself, by counting -------------------------------------------------


@pytest.mark.parametrize(
    ("n", "k", "corrupt", "drop"),
    [
        (6, 4, 1, 2),
        (7, 4, 1, 2),
        (7, 4, 2, 2),
        (8, 4, 2, 3),
        (9, 4, 3, 2),
        (8, 2, 2, 2),
    ],
)
def test_no_bad_event_is_more_frequent_over_all_orders_than_its_bound(
    n, k, corrupt, drop
):
    """Place colluders and dropouts everywhere; count; compare with each bound."""
    half = k // 2
    around = [
        [(p + s * d) % n for d in range(1, half + 1) for s in (1, -1)] for p in range(n)
    ]
    orders, cut = 0, 0
    exposed = dict.fromkeys(range(k + 1), 0)  # orders with > x colluders somewhere
    lost = dict.fromkeys(range(k + 2), 0)  # orders with < t left somewhere
    for bad in combinations(range(n), corrupt):
        others = [p for p in range(n) if p not in bad]
        for gone in combinations(others, drop):
            orders += 1
            most = max(sum(q in bad for q in around[p]) for p in others)
            least = min(sum(q not in gone for q in around[p]) for p in range(n))
            for x in exposed:
                exposed[x] += most > x
            for t in lost:
                lost[t] += least < t
            honest = {p for p in others if p not in gone}
            reached, front = set(), {min(honest)}
            while front:
                reached |= front
                front = {q for p in front for q in around[p] if q in honest} - reached
            cut += reached != honest
    assert Fraction(cut, orders) <= oracle.disconnected(n, corrupt + drop, k)
    for x, count in exposed.items():
        assert Fraction(count, orders) <= n * oracle.more_than(n, corrupt, k, x)
    for t, count in lost.items():
        assert Fraction(count, orders) <= n * oracle.less_than(n, n - drop, k, t)


# --- monotonicity --------------------------------------------------------------------


@pytest.mark.parametrize("lies", [False, True])
def test_asking_for_more_never_takes_fewer_neighbours(lies):
    base = {"clients": 300, "corrupt": 12, "drop": 15, "sigma": 20, "eta": 15}
    for name in ("corrupt", "drop", "sigma", "eta"):
        degrees = []
        for more in range(12):
            asked = Demand(**base | {name: base[name] + more}, server_lies=lies)
            found = asked.smallest()
            degrees.append(inf if found is None else found[0])
        assert degrees == sorted(degrees) and degrees[0] < degrees[-1] < inf
    honest, lied = (Demand(**base, server_lies=x).smallest() for x in (False, True))
    assert honest[0] <= lied[0]


@settings(max_examples=100, deadline=None)
@given(
    population=st.integers(2, 400),
    share=st.floats(0, 1),
    budget=st.integers(1, 80),
)
def test_one_more_neighbour_moves_a_quantile_by_one_at_most(population, share, budget):
    marked = int(share * population)
    for quantile in (upper_quantile, lower_quantile):
        values = [
            quantile(population, marked, draws, budget_log2=-budget)
            for draws in range(min(population, 60) + 1)
        ]
        steps = {b - a for a, b in pairwise(values)}
        assert steps <= {0, 1}
