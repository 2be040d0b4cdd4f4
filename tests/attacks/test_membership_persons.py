"""Many records of a person show together what one of them hardly does."""

from __future__ import annotations

import numpy as np
import pytest

from attacks import ParameterError, auc
from attacks.membership.persons import by_person


def test_a_person_is_told_better_than_one_record_and_chance_stays_chance() -> None:
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(200), 10)
    inside = persons % 2 == 0
    for shift, least, most in ((0.4, 0.75, 1.0), (0.0, 0.4, 0.6)):
        scores = rng.normal(size=2000) + shift * inside
        mean, bits, _ = by_person(scores, inside, persons)
        assert least < auc(mean[bits], mean[~bits]) < most
        if shift:
            single = auc(scores[inside], scores[~inside])
            assert auc(mean[bits], mean[~bits]) > single + 0.1


def test_the_score_is_the_mean_whatever_the_order_and_the_numbers() -> None:
    scores = np.array([1.0, 5.0, 3.0, 10.0])
    persons = np.array([70, -3, 70, -3])
    members = np.array([True, False, True, False])
    mean, bits, names = by_person(scores, members, persons)
    assert names.tolist() == [-3, 70]
    assert mean.tolist() == [7.5, 2.0]
    assert bits.tolist() == [False, True]


def test_a_person_in_half_and_odd_shapes_are_refused() -> None:
    scores, persons = np.zeros(2), np.array([1, 1])
    with pytest.raises(ParameterError, match="in half"):
        by_person(scores, np.array([True, False]), persons)
    with pytest.raises(ParameterError, match="every record"):
        by_person(scores, np.array([True]), persons)
    with pytest.raises(ParameterError, match="finite"):
        by_person(np.array([0.0, np.nan]), np.array([True, True]), persons)
