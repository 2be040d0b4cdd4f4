"""The data sets that come with scikit-learn: digits, breast_cancer and wine.

They are public, so the report may show their records. Digits are images with the
public range 0 .. 16, here -1 .. 1; the other two are tables in their own units, whose
scale the clients learn together. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from fl.data.records import Column, Dataset, RawTable, classes_of

# Gray levels of scikit-learn's 8x8 digits, by their documentation.
DIGITS_MAX = 16.0


def load_builtin(name: str) -> Dataset | RawTable:
    """Return the built-in data set of this name: "digits", "breast_cancer", "wine"."""
    return _BUILT_IN[name]()


def _digits() -> Dataset:
    bunch = datasets.load_digits()
    labels, class_names = classes_of(bunch.target, "digits")
    return Dataset(
        # Centred by a public constant: gradients then point in more than one direction.
        features=(2 * bunch.images[:, None] / DIGITS_MAX - 1).astype(np.float32),
        labels=labels,
        classes=len(class_names),
        class_names=class_names,
        names=(),
        value_range=(-1.0, 1.0),
        kind="image",
        provenance="scikit-learn digits (UCI optical recognition of handwritten "
        "digits)",
        builtin=True,
    )


def _breast_cancer() -> RawTable:
    bunch = datasets.load_breast_cancer()
    about = "scikit-learn breast_cancer (UCI Wisconsin diagnostic)"
    return _table(bunch.data, bunch.target, bunch.feature_names, about)


def _wine() -> RawTable:
    bunch = datasets.load_wine()
    about = "scikit-learn wine (UCI wine recognition)"
    return _table(bunch.data, bunch.target, bunch.feature_names, about)


def _table(
    values: NDArray[np.float64],
    target: NDArray[np.int64],
    names: Sequence[str],
    about: str,
) -> RawTable:
    labels, class_names = classes_of(target, about)
    return RawTable(
        values=values.astype(np.float64),
        columns=tuple(Column(name=str(name)) for name in names),
        labels=labels,
        classes=len(class_names),
        class_names=class_names,
        provenance=about,
        builtin=True,
    )


_BUILT_IN: dict[str, Callable[[], Dataset | RawTable]] = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "wine": _wine,
}
