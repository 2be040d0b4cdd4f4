"""Call a user's own function for the records: data.source = "module:function".

It takes no argument and returns (x, y), or a mapping with x, y and, if it likes,
x_test, y_test, sites and the key that data.subject names. It runs in this process with
this process's rights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl.data.arrays import Arrays
from fl.data.subjects import TEST
from fl.errors import DataError
from fl.usercode import find, running

KEYS = ("x", "y", "x_test", "y_test", "sites")


def call_user(spec: str, subject: str = "") -> Arrays:
    """Return what the user's function gave, by role.

    Args:
        spec: "module:function".
        subject: the key that says whose each record is, or "".

    Raises:
        DataError: it is not found, or returned something else.
    """
    function = find(spec, key="data.source", fault=DataError)
    with running(spec, key="data.source", fault=DataError):
        given = function()
    if isinstance(given, tuple) and len(given) == 2:
        given = {"x": given[0], "y": given[1]}
    known = {*KEYS, subject, subject + TEST} - {"", TEST}
    if not isinstance(given, Mapping) or not {"x", "y"} <= set(given) <= known:
        raise DataError(
            f"{spec} returned {_shape_of(given)}; return (x, y), or a dict of x, y "
            "and optionally x_test, y_test, sites and the key that data.subject names."
        )
    arrays = {key: _array(value, spec, key) for key, value in given.items()}
    return Arrays(
        x=arrays["x"],
        y=arrays["y"],
        x_test=arrays.get("x_test"),
        y_test=arrays.get("y_test"),
        sites=arrays.get("sites"),
        subjects=arrays.get(subject),
        subjects_test=arrays.get(subject + TEST),
        source=spec,
    )


def _array(value: object, spec: str, key: str) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{spec}: {key} is no array; return a numpy array.") from error
    if array.dtype.hasobject:
        raise DataError(
            f"{spec}: {key} holds Python objects; return numbers or strings."
        )
    return array


def _shape_of(given: object) -> str:
    if isinstance(given, Mapping):
        return f"a dict of {', '.join(str(key) for key in given) or 'nothing'}"
    if isinstance(given, tuple):
        return f"a tuple of {len(given)}"
    return f"a {type(given).__name__}"
