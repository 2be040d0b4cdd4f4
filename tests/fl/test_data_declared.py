"""Under differential privacy a table is scaled by its declared bounds and no value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl.data import RawTable, declared
from fl.data.records import Column
from fl.errors import DataError

COLUMNS = (
    Column(name="age", low=0.0, high=120.0),
    Column(name="sex", levels=("f", "m")),
    Column(name="dose", low=-2.0, high=4.0),
)


def _table(columns: tuple[Column, ...] = COLUMNS, *, seed: int = 0) -> RawTable:
    rng = np.random.default_rng(seed)
    values = np.column_stack(
        [
            rng.uniform(20, 100, 40),
            rng.integers(0, 2, 40).astype(float),
            rng.uniform(-1, 2, 40),
        ]
    )
    values[rng.integers(0, 40, 5), 0] = np.nan
    return RawTable(
        values=values,
        columns=columns,
        labels=rng.integers(0, 2, 40).astype(np.int64),
        classes=2,
        class_names=("no", "yes"),
        provenance="made up",
        builtin=False,
    )


def test_what_is_learnt_depends_on_no_value() -> None:
    first, second = declared(_table()), declared(_table(seed=7))
    whole = replace(
        _table(), values=np.full((40, 3), np.nan), labels=np.zeros(40, np.int64)
    )
    for other in (second, declared(whole)):
        np.testing.assert_array_equal(first.median, other.median)
        np.testing.assert_array_equal(first.scale, other.scale)
        assert first.holes == other.holes
        assert (other.sums, other.numbers) == (0, 0)


def test_scales_are_those_of_a_uniform_value_between_the_bounds() -> None:
    learnt = declared(_table())
    np.testing.assert_allclose(learnt.median, [60.0, 0.0, 1.0])
    drawn = np.random.default_rng(0).uniform(0, 120, 200_000)
    assert learnt.scale[0] == pytest.approx(drawn.std(), rel=0.01)
    assert learnt.scale[2] == pytest.approx(learnt.scale[0] / 20)
    assert learnt.scale[1] == 1.0


def test_any_number_may_be_missing_so_every_number_counts_as_missing() -> None:
    whole = replace(_table(), values=np.nan_to_num(_table().values, nan=50.0))
    assert declared(whole).holes == declared(_table()).holes == (0, 2)


def test_missing_bounds_are_refused_by_name() -> None:
    bare = (*COLUMNS[:2], Column(name="dose"), Column(name="weight"))
    table = _table()
    values = np.column_stack([table.values, table.values[:, 0]])
    with pytest.raises(DataError) as caught:
        declared(replace(table, values=values, columns=bare))
    said = str(caught.value)
    assert "dose, weight" in said
    assert "age" not in said and "sex" not in said
    assert "data.bounds = {dose = [low, high]}" in said


def test_changed_bounds_change_the_scale() -> None:
    wider = (replace(COLUMNS[0], high=240.0), *COLUMNS[1:])
    assert declared(_table(wider)).scale[0] == 2 * declared(_table()).scale[0]
