"""Releases as text: a small closed set of events, in canonical JSON.

    text = encode(sampled_gaussian(1.1, 0.1))
    decode(text) == sampled_gaussian(1.1, 0.1)

One event has one text, and every float comes back bit for bit, so that texts can be
compared in place of events. The set is closed: a file decides nothing but numbers, no
class is ever looked up by a name in it, and an event outside the set is refused before
it is written. What is not here: pickles, and events without a bound. Under which
relation one holds is checked where it is spent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import DistributedSum, SharesDpEvent
from dp.errors import ParameterError
from dp.integers import Integers

TEXT_MAX: Final = 65_536
"""Characters of one event; far above what a release needs."""
DEPTH_MAX: Final = 16
"""Events within events; a text that nests deeper was not written here."""
COUNT_MAX: Final = 10**12
"""Releases in one entry."""
WHOLE_MAX: Final = 2**62
"""Variances, bounds and lengths of integer noise."""

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one type of event is written and read.

    Attributes:
        type: the class, exactly; a subclass may mean something else.
        write: the fields of an event, where events within are still events.
        read: an event from checked fields.
        fields: by name, what each field must be.
        applies: which events of the type these are.
    """

    type: type[DpEvent]
    write: Callable[[Any], Fields]
    read: Callable[..., DpEvent]
    fields: Mapping[str, str]
    applies: Callable[[Any], bool] = lambda event: True


_SHARES: Final = {
    "variance": "whole",
    "honest": "whole",
    "l2_bound": "amount",
    "linf_bound": "whole",
    "length": "whole",
    "chance": "rate",
    "rate": "rate",
}


def _shares(noise: type[DiscreteGaussian] | type[Skellam]) -> _Kind:
    """Return how a sum with noise in shares is written, under one kind of noise."""

    def write(event: SharesDpEvent) -> Fields:
        total, integers = event.total, event.total.integers
        return {
            "variance": total.noise.variance,
            "honest": total.honest,
            "l2_bound": integers.l2_bound,
            "linf_bound": integers.linf_bound,
            "length": integers.length,
            "chance": integers.chance,
            "rate": total.sampling_rate,
        }

    def read(variance: int, honest: int, rate: float, **integers: Any) -> DpEvent:
        return DistributedSum(
            noise=noise(variance=variance),
            honest=honest,
            integers=Integers(**integers),
            sampling_rate=rate,
        ).event

    return _Kind(
        SharesDpEvent,
        write,
        read,
        _SHARES,
        lambda event: type(event.total.noise) is noise,
    )


_KINDS: Final[Mapping[str, _Kind]] = {
    "gaussian": _Kind(
        GaussianDpEvent,
        lambda event: {"noise_multiplier": event.noise_multiplier},
        GaussianDpEvent,
        {"noise_multiplier": "amount"},
    ),
    "laplace": _Kind(
        LaplaceDpEvent,
        lambda event: {"noise_multiplier": event.noise_multiplier},
        LaplaceDpEvent,
        {"noise_multiplier": "amount"},
    ),
    "poisson": _Kind(
        PoissonSampledDpEvent,
        lambda event: {"rate": event.sampling_probability, "event": event.event},
        lambda rate, event: PoissonSampledDpEvent(rate, event),
        {"rate": "rate", "event": "event"},
    ),
    "repeated": _Kind(
        SelfComposedDpEvent,
        lambda event: {"count": event.count, "event": event.event},
        lambda count, event: SelfComposedDpEvent(event, count),
        {"count": "count", "event": "event"},
    ),
    "composed": _Kind(
        ComposedDpEvent,
        lambda event: {"events": list(event.events)},
        lambda events: ComposedDpEvent(events),
        {"events": "events"},
    ),
    "nothing": _Kind(NoOpDpEvent, lambda event: {}, NoOpDpEvent, {}),
    "gaussian shares": _shares(DiscreteGaussian),
    "skellam shares": _shares(Skellam),
}


def encode(event: DpEvent) -> str:
    """Return the one text of an event.

    Raises:
        ParameterError: the caller's: the event, or one within it, is none of the
            closed set, or has a number out of range; the sentence names that one.
    """
    text = _dump(_plain(event, ()))
    if len(text) > TEXT_MAX:
        raise ParameterError(
            f"the event takes {len(text)} characters, over {TEXT_MAX}; record its "
            "parts one by one."
        )
    return text


def decode(text: str) -> DpEvent:
    """Return the event of a text that `encode` wrote.

    Raises:
        ParameterError: it is no such text.
    """
    try:
        if len(text) > TEXT_MAX:
            raise ValueError("it is too long")
        event = _event(json.loads(text), 0)
        whole = encode(event) == text
    except (ValueError, TypeError, RecursionError) as error:
        raise ParameterError(f"an event in the ledger cannot be read: {error}.") from (
            error
        )
    if not whole:
        raise ParameterError("an event in the ledger is not in its canonical form.")
    return event


def _plain(event: object, path: tuple[str, ...]) -> Fields:
    """Turn an event into fields; ``path`` leads to it from the outermost one."""
    name = _name_of(event)
    if name is None or len(path) > DEPTH_MAX:
        within = f", within {' within '.join(reversed(path))}" if path else ""
        raise ParameterError(
            f"{event!s:.200}{within} is no release that can be recorded and bounded; "
            f"use Gaussian or Laplace noise, with or without Poisson sampling, at most "
            f"{DEPTH_MAX} deep."
        )
    kind, path = _KINDS[name], (*path, type(event).__name__)
    fields: Fields = {"kind": name}
    for key, value in kind.write(event).items():
        sort = kind.fields[key]
        if sort == "event":
            fields[key] = _plain(value, path)
        elif sort == "events":
            fields[key] = [_plain(one, path) for one in value]
        else:
            fields[key] = _number(sort, key, value)
    return fields


def _name_of(event: object) -> str | None:
    for name, kind in _KINDS.items():
        if type(event) is kind.type and kind.applies(event):
            return name
    return None


def _event(fields: object, depth: int) -> DpEvent:
    if depth > DEPTH_MAX:
        raise ValueError("it nests too deep")
    if not isinstance(fields, dict) or fields.get("kind") not in _KINDS:
        raise ValueError("it is of no kind that this version knows")
    kind = _KINDS[fields["kind"]]
    if set(fields) != {"kind", *kind.fields}:
        raise ValueError(f"the fields of a {fields['kind']} are others")
    found: Fields = {}
    for key, sort in kind.fields.items():
        value = fields[key]
        if sort == "event":
            found[key] = _event(value, depth + 1)
        elif sort == "events" and isinstance(value, list):
            found[key] = [_event(one, depth + 1) for one in value]
        else:
            found[key] = _number(sort, key, value)
    return kind.read(**found)


def _number(sort: str, key: str, value: Any) -> float | int:
    """Return a number as it is written; an event may hold numpy's, or an integer."""
    if isinstance(value, bool) or isinstance(value, str | list | dict):
        raise ParameterError(f"{key}={value!r} is no number.")
    if sort in ("count", "whole"):
        most_whole = COUNT_MAX if sort == "count" else WHOLE_MAX
        if int(value) != value or not 0 <= value <= most_whole:
            raise ParameterError(f"{key}={value} must be in 0 to {most_whole}.")
        return int(value)
    amount = float(value)
    if not (0 <= amount < math.inf and (sort != "rate" or amount <= 1)):
        most = "1" if sort == "rate" else "below infinity"
        raise ParameterError(f"{key}={amount} must lie between 0 and {most}.")
    return amount


def _dump(fields: Fields) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
