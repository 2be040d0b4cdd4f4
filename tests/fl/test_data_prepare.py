"""What is learnt before training: by sums only, and right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from fl.data import Column, RawTable, apply, learn, load
from fl.data.prepare import BISECTIONS, CLIP, DEVIATIONS, QUANTILES
from fl.data.records import RANGE
from fl.data.settings import DataConfig
from fl.errors import DataError

Vectors = Mapping[str, NDArray[np.float32]]


class PlainSum:
    """The stand-in for the aggregation: adds, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[dict[str, NDArray[np.float32]]] = []

    def __call__(self, vectors: Vectors) -> NDArray[np.float64]:
        self.seen.append(dict(vectors))
        stacked = np.stack([v.astype(np.float64) for v in vectors.values()])
        return np.asarray(stacked.sum(axis=0))


def table(values: np.ndarray, columns: tuple[Column, ...] | None = None) -> RawTable:
    values = np.asarray(values, dtype=np.float64)
    names = [Column(name=f"c{j}") for j in range(values.shape[1])]
    return RawTable(
        values=values,
        columns=columns or tuple(names),
        labels=np.arange(len(values)) % 2,
        classes=2,
        class_names=("0", "1"),
        provenance="a test",
        builtin=False,
    )


def dealt(rows: int, clients: int) -> dict[str, NDArray[np.int64]]:
    parts = np.array_split(np.arange(rows), clients)
    return {f"c{i}": part for i, part in enumerate(parts)}


def oracle(values: np.ndarray) -> np.ndarray:
    """Pool all values and sort them: what no server may do."""
    return np.stack(
        [
            np.quantile(v[~np.isnan(v)], QUANTILES, method="inverted_cdf")
            for v in values.T
        ],
        axis=1,
    )


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_match_those_of_the_pooled_records(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 400))
    values = np.stack(
        [
            rng.normal(1000, 300, n),
            rng.exponential(0.01, n),
            rng.integers(0, 3, n).astype(float),
            np.full(n, -7.0),
            rng.standard_cauchy(n).clip(-1e5, 1e5),
        ],
        axis=1,
    )
    values[rng.random(values.shape) < 0.1] = np.nan
    values[0] = 1.0
    learnt = learn(table(values), dealt(n, 3), PlainSum())
    low, median, high = oracle(values)
    tolerance = 2 * RANGE / 2**BISECTIONS
    assert np.abs(learnt.median - median).max() <= tolerance
    spread = np.where(high > low, (high - low) / DEVIATIONS, 1.0)
    assert np.abs(learnt.scale - spread).max() <= tolerance


def test_learning_does_not_depend_on_who_has_which_records() -> None:
    rng = np.random.default_rng(0)
    raw = table(rng.normal(size=(60, 3)))
    one = learn(raw, dealt(60, 2), PlainSum())
    many = learn(raw, dealt(60, 30), PlainSum())
    assert np.array_equal(one.median, many.median)
    assert np.array_equal(one.scale, many.scale)


def test_only_training_rows_take_part() -> None:
    raw = table(np.arange(20.0)[:, None])
    learnt = learn(raw, {"a": np.arange(5), "b": np.arange(5, 9)}, PlainSum())
    assert learnt.median[0] == pytest.approx(4.0, abs=1e-6)


def test_release_is_accounted_sum_by_sum() -> None:
    total = PlainSum()
    raw = table(np.random.default_rng(0).normal(size=(40, 3)))
    learnt = learn(raw, dealt(40, 4), total)
    assert learnt.sums == len(total.seen) == BISECTIONS + 1
    assert learnt.numbers == sum(len(v["c0"]) for v in total.seen)
    assert "3 numeric columns" in learnt.reveals


def test_clients_send_whole_counts_of_their_own_records() -> None:
    total = PlainSum()
    raw = table(np.random.default_rng(0).normal(size=(40, 2)))
    clients = dealt(40, 4)
    learn(raw, clients, total)
    for vectors in total.seen:
        for name, vector in vectors.items():
            assert vector.dtype == np.float32
            assert np.array_equal(vector, np.rint(vector))
            assert 0 <= vector.min() <= vector.max() <= len(clients[name])


def test_a_column_that_one_client_lacks_is_learnt_from_the_others() -> None:
    values = np.arange(12.0)[:, None] @ np.ones((1, 2))
    values[:4, 1] = np.nan
    learnt = learn(table(values), dealt(12, 3), PlainSum())
    assert learnt.holes == (1,)
    assert learnt.median[1] == pytest.approx(7.0, abs=1e-6)


def test_a_column_that_nobody_has_is_refused_with_the_cure() -> None:
    values = np.full((6, 2), np.nan)
    values[:, 0] = 1.0
    with pytest.raises(DataError, match=r"column c1 .* data\.drop"):
        learn(table(values), dealt(6, 2), PlainSum())


def test_bounds_narrow_the_search() -> None:
    values = np.linspace(0, 1e-9, 101)[:, None]
    narrow = (Column(name="c0", low=0.0, high=1e-9),)
    learnt = learn(table(values, narrow), dealt(101, 2), PlainSum())
    assert learnt.median[0] == pytest.approx(5e-10, rel=1e-6)


def test_values_at_the_ends_of_the_range_are_found() -> None:
    ends = (Column(name="c0", low=0.0, high=1.0),)
    learnt = learn(
        table(np.array([[0.0], [0.0], [1.0]]), ends), dealt(3, 2), PlainSum()
    )
    assert learnt.median[0] == pytest.approx(0.0, abs=1e-9)
    assert learnt.scale[0] == pytest.approx(1 / DEVIATIONS, rel=1e-9)


def test_missing_numbers_become_the_median_beside_an_indicator() -> None:
    values = np.array([[1.0], [2.0], [3.0], [np.nan]])
    raw = table(values)
    ready = apply(raw, learn(raw, dealt(4, 2), PlainSum()))
    assert ready.names == ("c0", "c0 missing")
    assert ready.features[:, 1].tolist() == [0, 0, 0, 1]
    assert ready.features[3, 0] == 0.0
    assert ready.features[1, 0] == pytest.approx(0.0, abs=1e-6)


def test_categories_become_one_column_each_and_cost_no_sum() -> None:
    columns = (Column(name="k", levels=("a", "b", "c")),)
    raw = table(np.array([[0.0], [2.0], [np.nan]]), columns)
    total = PlainSum()
    learnt = learn(raw, dealt(3, 2), total)
    assert (learnt.sums, len(total.seen)) == (0, 0)
    ready = apply(raw, learnt)
    assert ready.names == ("k=a", "k=b", "k=c")
    assert ready.features.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_prepared_features_stay_within_their_public_range() -> None:
    values = np.concatenate([np.arange(100.0), [1e6, -1e6]])[:, None]
    raw = table(values)
    ready = apply(
        raw, learn(raw, {"a": np.arange(50), "b": np.arange(50, 100)}, PlainSum())
    )
    assert ready.value_range == (-CLIP, CLIP)
    assert np.abs(ready.features).max() == CLIP
    assert np.isfinite(ready.features).all()
    assert ready.features.dtype == np.float32


def test_a_normal_column_comes_out_standard() -> None:
    values = np.random.default_rng(0).normal(50.0, 9.0, (20000, 1))
    raw = table(values)
    ready = apply(raw, learn(raw, dealt(20000, 5), PlainSum()))
    assert ready.features.mean() == pytest.approx(0.0, abs=0.03)
    assert ready.features.std() == pytest.approx(1.0, abs=0.03)


def test_built_in_tables_can_be_prepared() -> None:
    raw = load(DataConfig(source="breast_cancer"), 0)
    assert isinstance(raw, RawTable)
    ready = apply(raw, learn(raw, dealt(len(raw), 10), PlainSum()))
    assert ready.features.shape == (569, 30)
    assert np.abs(np.median(ready.features, axis=0)).max() < 1e-2
    assert ready.builtin


def test_fields_say_which_features_hold_what() -> None:
    values = np.array([[1.0, 0.0], [np.nan, 1.0], [3.0, 2.0]])
    columns = (Column(name="age"), Column(name="pain", levels=("a", "b", "c")))
    raw = table(values, columns)
    found = apply(raw, learn(raw, dealt(3, 2), PlainSum()))
    kinds = [(one.name, one.columns, one.numeric) for one in found.fields]
    assert kinds == [
        ("age", (0,), True),
        ("age missing", (1,), False),
        ("pain", (2, 3, 4), False),
    ]
    assert [found.names[i] for i in found.fields[2].columns] == [
        "pain=a",
        "pain=b",
        "pain=c",
    ]
