"""Attribute inference: what imputation knows, what a model adds, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from attacks import Field, ParameterError
from attacks.property import impute, levels_of, posterior, substituted
from attacks.property.attributes import level_numbers

SEX = Field(name="sex", columns=(1,), numeric=True)
CHEST = Field(name="cp", columns=(2, 3, 4), numeric=False)


def people(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw records whose second column follows the first, and labels that follow it."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=count)
    sex = (first + rng.normal(size=count) > 0).astype(float)
    chest = np.eye(3)[rng.integers(0, 3, size=count)]
    labels = (sex + rng.normal(size=count) > 0.5).astype(np.int64)
    return np.column_stack([first, sex, chest]).astype(np.float32), labels


def test_levels_are_the_values_that_occur() -> None:
    records, _ = people(50, 0)
    assert levels_of(records, SEX).tolist() == [[0.0], [1.0]]
    assert len(levels_of(records, CHEST)) == 3


def test_quantities_and_constants_are_no_attributes() -> None:
    records, _ = people(50, 0)
    with pytest.raises(ParameterError, match="takes 50 values"):
        levels_of(records, Field(name="age", columns=(0,), numeric=True))
    records[:, 1] = 1
    with pytest.raises(ParameterError, match="takes 1 values"):
        levels_of(records, SEX)


def test_what_the_field_held_is_in_no_substituted_copy() -> None:
    records, _ = people(20, 1)
    levels = levels_of(records, CHEST)
    copies = substituted(records, CHEST, levels)
    other = records.copy()
    other[:, 2:5] = 7.0  # whatever it was
    assert np.array_equal(copies, substituted(other, CHEST, levels))
    for copy, level in zip(copies, levels, strict=True):
        assert (copy[:, 2:5] == level).all()
        assert np.array_equal(copy[:, :2], records[:, :2])


def test_imputation_ignores_the_field_itself_and_beats_the_commonest_value() -> None:
    known, known_labels = people(500, 2)
    records, labels = people(500, 3)
    levels = levels_of(known, SEX)
    said = impute(known, known_labels, records, labels, SEX, levels)
    flipped = records.copy()
    flipped[:, 1] = 1 - flipped[:, 1]
    again = impute(known, known_labels, flipped, labels, SEX, levels)
    assert np.array_equal(said, again)
    assert np.exp(said).sum(axis=1) == pytest.approx(1.0)
    right = (said.argmax(axis=1) == level_numbers(records, SEX, levels)).mean()
    assert right > 0.7 > max(records[:, 1].mean(), 1 - records[:, 1].mean())


def test_a_value_that_nobody_known_has_keeps_a_chance() -> None:
    known, known_labels = people(100, 4)
    levels = np.array([[0.0], [1.0], [2.0]])
    said = impute(known, known_labels, known[:5], known_labels[:5], SEX, levels)
    assert np.isfinite(said).all()
    assert (np.exp(said[:, 2]) < 0.01).all()


def test_the_posterior_is_bayes_rule() -> None:
    rng = np.random.default_rng(5)
    prior, likelihood = np.log(rng.random((4, 3))), np.log(rng.random((4, 3)))
    found = np.exp(posterior(prior, likelihood))
    for row in range(4):
        joint = [np.exp(prior[row, v]) * np.exp(likelihood[row, v]) for v in range(3)]
        assert found[row] == pytest.approx(np.array(joint) / sum(joint))
    flat = posterior(prior, np.zeros((4, 3)))  # a model that says nothing
    assert (flat.argmax(axis=1) == prior.argmax(axis=1)).all()
    with pytest.raises(ParameterError, match="must both be"):
        posterior(prior, likelihood[:, :2])


def test_a_value_that_is_none_of_the_levels_is_marked() -> None:
    records, _ = people(5, 6)
    levels = levels_of(records[:, :], SEX)
    records[2, 1] = 9
    assert level_numbers(records, SEX, levels)[2] == -1
