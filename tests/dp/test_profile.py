"""The curve of deltas: above the exact one, and at one with epsilon."""

import math

import numpy as np
import pytest
from scipy import special

from dp import ParameterError, sampled_gaussian
from dp.accounting import coarse_epsilon
from dp.profile import profile

EPSILONS = np.linspace(0, 6, 25)


def test_deltas_bound_the_exact_curve_of_gaussian_noise_from_above():
    found = profile([(sampled_gaussian(2.0, 1.0), 4)], EPSILONS)  # mu = 1
    lost = np.exp(EPSILONS + special.log_ndtr(-0.5 - EPSILONS))
    exact = special.ndtr(0.5 - EPSILONS) - lost
    assert (found >= exact - 1e-12).all() and (found <= exact + 1e-3).all()
    assert (np.diff(found) <= 0).all()


def test_the_curve_passes_through_the_epsilon_of_sampled_noise():
    step = sampled_gaussian(1.0, 0.1)
    claimed = coarse_epsilon(step, 20, 1e-3)
    below, above = profile([(step, 20)], np.array([claimed * 0.999, claimed * 1.001]))
    assert above < 1e-3 < below


def test_no_release_is_no_loss_and_bad_epsilons_are_refused():
    assert (profile([], EPSILONS) == 0).all()
    for bad in (np.array([-1.0]), np.array([math.nan]), np.ones((2, 2))):
        with pytest.raises(ParameterError, match="at least 0"):
            profile([(sampled_gaussian(1.0, 1.0), 1)], bad)
