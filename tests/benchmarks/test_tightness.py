"""The figures of tightness: planned beforehand, below the truth, shape above none."""

import numpy as np
import pytest

from attacks import ANY_MECHANISM, GAUSSIAN, coins
from benchmarks import known_epsilon, tightness


@pytest.mark.parametrize("mechanism", ["one", "many"])
def test_right_guesses_come_as_planned(mechanism):
    kind = (
        known_epsilon.OneRelease(4.0)
        if mechanism == "one"
        else known_epsilon.ManySamples(1.5, 0.5, 5, epsilon=9.0)
    )
    m, half = 4000, 400
    right = []
    for seed in range(8):
        included = coins(m, seed=seed)
        ranked = included[np.argsort(-kind.scores(included, seed))]
        right.append(ranked[:half].sum() + (~ranked[m - half :]).sum())
    spread = np.std(right) + 1
    assert abs(np.mean(right) - kind.right(half, m)) < 4 * spread / np.sqrt(3)


def test_a_shape_proves_more_and_nothing_is_proven_above_the_truth():
    once = known_epsilon.OneRelease(4.0)
    assert once.mu == pytest.approx(0.92493, abs=1e-4)
    found = [
        tightness.audit(once, family, 10_000, range(3))
        for family in (None, ANY_MECHANISM, GAUSSIAN)
    ]
    found.append(tightness.as_runs(once, 10_000, range(3)))
    values = [tight.lower.value for tight in found]
    assert values == sorted(values) and 1.0 < values[0] < values[-1] < 4.0
    # At most one of twelve, which 5 % each exceed in one test of eight.
    assert sum(tight.wrong for tight in found) <= 1
    assert all(tight.upper == 4.0 and tight.lower.n == 3 for tight in found)
