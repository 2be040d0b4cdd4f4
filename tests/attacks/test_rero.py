"""No attack tells a record among candidates more often than privacy lets it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special
from torch.nn import functional

from attacks import ParameterError, clopper_pearson
from attacks.rero import reconstruction_limit
from attacks.tradeoff import approximate_curve, gaussian_curve

CANDIDATES, DRAWS = 16, 3000


def _clipped(net, digits) -> np.ndarray:
    """Return one gradient of norm 1 for each of some records, (CANDIDATES, entries)."""
    model, (images, labels) = net(hidden=(8,)), digits
    rows = []
    for x, y in zip(images[:CANDIDATES], labels[:CANDIDATES], strict=True):
        loss = functional.cross_entropy(model(x[None]), y[None])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        flat = torch.cat([part.reshape(-1) for part in parts]).numpy()
        rows.append(flat / np.linalg.norm(flat))
    return np.array(rows)


def _told(gradients: np.ndarray, std: float) -> int:
    """Count how often the likeliest candidate is the one whose gradient was noised."""
    rng = np.random.default_rng(0)  # the same records and noise for every deviation
    truth = rng.integers(0, CANDIDATES, size=DRAWS)
    # Of Gaussian noise only its products with the candidates matter.
    spread = np.linalg.cholesky(gradients @ gradients.T + 1e-12 * np.eye(CANDIDATES))
    noise = rng.normal(size=(DRAWS, CANDIDATES)) @ spread.T
    scores = (gradients @ gradients.T)[truth] + std * noise
    return int((scores.argmax(axis=1) == truth).sum())


def test_the_best_attack_on_noised_gradients_stays_below_the_limit(net, digits) -> None:
    gradients = _clipped(net, digits)
    hits = []
    for std in (0.1, 0.5, 1.0, 2.0, 8.0):
        found = clopper_pearson(_told(gradients, std), DRAWS, 0.99)
        limit = reconstruction_limit(1 / CANDIDATES, gaussian_curve(1 / std))
        assert found.low <= limit
        hits.append(found.value)
    assert hits[0] > 0.95  # without much noise it is told
    assert hits == sorted(hits, reverse=True)  # and never more often with more of it
    assert clopper_pearson(round(hits[-1] * DRAWS), DRAWS, 0.99).low < 2 / CANDIDATES


def test_noise_that_is_missing_is_caught_by_the_limit(net, digits) -> None:
    claimed = reconstruction_limit(1 / CANDIDATES, gaussian_curve(1 / 2.0))
    found = clopper_pearson(_told(_clipped(net, digits), 0.1), DRAWS, 0.99)
    assert found.low > claimed


def test_the_limit_is_the_closed_form_and_chance_without_privacy_loss() -> None:
    for mu in (0.0, 0.5, 3.0):
        limit = reconstruction_limit(0.01, gaussian_curve(mu))
        assert limit == pytest.approx(special.ndtr(special.ndtri(0.01) + mu))
    # Pure epsilon: at most e^epsilon times chance (Balle et al. 2022).
    assert reconstruction_limit(0.01, approximate_curve(1.0, 0.0)) == pytest.approx(
        0.01 * np.e
    )
    for chance in (0.0, 1.0, -1.0):
        with pytest.raises(ParameterError, match="chance"):
            reconstruction_limit(chance, gaussian_curve(1.0))
