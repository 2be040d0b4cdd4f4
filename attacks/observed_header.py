"""The public facts of a saved observation: one JSON object, checked field by field.

Schema `blindsum.observation/1`. Fields never change their meaning; a change that old
readers would misunderstand gets a new number.
"""

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from attacks.errors import ObservationError
from attacks.observation import Adversary

SCHEMA = "blindsum.observation/1"
BYTES_AT_MOST = 1 << 20
# A file must not make its reader allocate what a model of these sizes would need.
ENTRIES_AT_MOST, CLASSES_AT_MOST = 1 << 24, 1 << 20
_WHOLE_AT_MOST = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What `attacks.Observation` says beside its tensors, and the model's mode.

    Args:
        training: whether the client's model was in training mode.
        switched: names of modules in the other mode (a frozen batch norm).
        input_shape, classes, view, adversary, batch_size, steps, value_range,
            clients_summed, lr, momentum, epochs, tokens: as in `attacks.Observation`.
    """

    training: bool
    input_shape: tuple[int, ...]
    classes: int
    view: str = "an update"
    adversary: str = Adversary.SERVER.value
    switched: tuple[str, ...] = ()
    batch_size: int | None = None
    steps: int | None = None
    value_range: tuple[float, float] | None = None
    clients_summed: int = 1
    lr: float | None = None
    momentum: float | None = None
    epochs: int | None = None
    tokens: int | None = None


_REQUIRED = ("training", "input_shape", "classes")


def to_bytes(header: Header) -> bytes:
    """Write a header as UTF-8 JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(header)}, allow_nan=False).encode()


def from_bytes(raw: bytes, *, where: str) -> Header:
    """Read a header.

    Args:
        raw: UTF-8 JSON.
        where: the file, for the error.

    Raises:
        ObservationError: another schema, an unknown field (the nearest is named), a
            missing one, or a value of the wrong type (caller).
    """
    if len(raw) > BYTES_AT_MOST:
        raise ObservationError(f"{where}: the header exceeds {BYTES_AT_MOST} bytes.")
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ObservationError(
            f"{where}: the array 'observation' is not one JSON object; write it as "
            "docs/attacks.md says."
        ) from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise ObservationError(
            f"{where}: the header's schema is not {SCHEMA!r}; save the observation "
            "again with this version."
        )
    del tree["schema"]
    known = [one.name for one in fields(Header)]
    for name in tree:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            cure = f"did you mean {near[0]!r}?" if near else f"use one of {known}."
            raise ObservationError(f"{where}: unknown field {name!r}; {cure}")
    for name in _REQUIRED:
        if name not in tree:
            raise ObservationError(
                f"{where}: the header lacks {name!r}, which has no default; add it."
            )
    found = Header(**{name: _value(name, tree[name], where) for name in tree})
    entries = math.prod(found.input_shape)
    if entries > ENTRIES_AT_MOST or found.classes > CLASSES_AT_MOST:
        raise ObservationError(
            f"{where}: records of {entries} entries or {found.classes} classes are "
            f"more than the {ENTRIES_AT_MOST} and {CLASSES_AT_MOST} that a file may "
            "ask for."
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def _value(name: str, value: Any, where: str) -> Any:
    wanted, read = _FIELDS[name]
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ObservationError(
            f"{where}: {name} must be {wanted}, not {str(value)[:40]!r}."
        ) from error


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not 0 <= value <= _WHOLE_AT_MOST:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def each(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError
        return tuple(read(one) for one in value)

    return each


def _range(value: Any) -> tuple[float, float]:
    low, high = _list_of(_number)(value)
    return low, high


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _adversary(value: Any) -> str:
    return Adversary(value).value


_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "training": ("true or false", _flag),
    "input_shape": ("a list of sizes", _list_of(_whole)),
    "classes": ("a whole number", _whole),
    "view": ("a string", _text),
    "adversary": (f"one of {[one.value for one in Adversary]}", _adversary),
    "switched": ("a list of module names", _list_of(_text)),
    "batch_size": ("a whole number or null", _optional(_whole)),
    "steps": ("a whole number or null", _optional(_whole)),
    "value_range": ("[low, high] or null", _optional(_range)),
    "clients_summed": ("a whole number", _whole),
    "lr": ("a number or null", _optional(_number)),
    "momentum": ("a number or null", _optional(_number)),
    "epochs": ("a whole number or null", _optional(_whole)),
    "tokens": ("a whole number or null", _optional(_whole)),
}
