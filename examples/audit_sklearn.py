"""Audit a forest from Python, without a file of its own: ``python audit_sklearn.py``.

It remembers what it was trained on, and the claim of an epsilon that nobody kept to is
refuted; the last line is what a test suite would say.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import blindsum
from attacks import EpsilonInconsistent, assert_epsilon_consistent


def main() -> None:
    x, y = load_digits(return_X_y=True)
    coins = np.random.default_rng(0).integers(0, 2, len(x)).astype(bool)
    forest = RandomForestClassifier(100, random_state=0).fit(x[coins], y[coins])
    done = blindsum.audit_model(
        forest,
        (x[coins], y[coins]),
        (x[~coins], y[~coins]),
        claimed="epsilon=1 delta=1e-5 unit=example",
        random_split=True,
        name="forest",
    )
    for sentence in done.report.answer:
        print(sentence)
    print(f"Page: {done.folder / 'report.html'}")
    try:
        assert_epsilon_consistent(done)
    except EpsilonInconsistent as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
