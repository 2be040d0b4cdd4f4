"""Digits by made-up writers: several scans of a sheet of paper, all of one person.

Real data with several records of each person are seldom public. So the built-in digits
stand in: each image is taken for one writer's, and scanned one to six times, with a
little noise and a shift of at most one pixel. Nobody wrote more than one digit here, so
a writer's records are as alike as a patient's scans of one day.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

WRITERS = 600
SCANS = 6
BRIGHTEST = 16.0


def scans() -> dict[str, np.ndarray]:
    """Return images in [0, 1], their digits, and whose each of them is."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    writer = np.repeat(np.arange(WRITERS), rng.integers(1, SCANS + 1, size=WRITERS))
    images = digits.images[writer] / BRIGHTEST
    for image, shift in zip(images, rng.integers(-1, 2, size=len(writer)), strict=True):
        image[:] = np.roll(image, shift, axis=1)
    images += rng.normal(0.0, 0.05, size=images.shape)
    return {"x": images.clip(0.0, 1.0), "y": digits.target[writer], "writer": writer}
