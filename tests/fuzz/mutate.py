"""Damage to valid messages: in their bytes, and in their fields.

Bytes damaged at random mostly die in the header or in a length.  So half of the cases
are read first, one field of the message or of what it holds is changed, whatever its
class says about it, and the result is encoded again: lengths, counts and the digests
that ``encode`` computes then fit, and the case gets to the checks behind them.
"""

import dataclasses
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from random import Random
from typing import Any

from secagg.ciphertext import EncryptedInput, EncryptedTotal
from secagg.errors import SecaggError
from secagg.invite import MAX_NAME_BYTES, Limits
from secagg.messages import decode
from secagg.upload import PlainInput
from secagg.wire import HEADER_BYTES
from tests.fuzz import corpus

MOST_BYTES = 1 << 20  # of the longest case, far beyond every cap
_INTEGERS = (0, 1, 2, 3, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, (1 << 32) - 1)
_FLOATS = (0.0, -0.0, -1.0, 5e-324, 1e308, float("inf"), float("nan"))
_NAMES = ("", "server", "c0", "c1", "\0", "x" * MAX_NAME_BYTES, "x" * 200)


def mutate(rng: Random, base: bytes, donors: Sequence[bytes]) -> bytes:
    """Return a hostile case made from valid bytes."""
    draw = rng.random()
    if draw < 0.03:
        return rng.randbytes(rng.choice((0, 1, 2, 33, 34, 35, rng.randrange(600))))
    if draw < 0.07:
        return rng.choice(donors)  # a replay, of this round or of another
    if draw < 0.09 and len(base) > 1:
        return base[:1] + rng.randbytes(1) + base[2:]  # mostly a tag that nobody has
    if draw < 0.60:
        changed = restructure(rng, base, donors)
        if changed is not None and draw < 0.50:
            return changed
        base = base if changed is None else changed
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        base = damage(rng, base, donors)
    return base


def damage(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """Change a few bytes, the header's rarely."""
    start = 0 if rng.random() < 0.15 else min(HEADER_BYTES, len(data))
    at = rng.randint(start, len(data))
    end = min(len(data), at + rng.choice((1, 1, 2, 2, 4, 16, 32, 64)))
    match rng.randrange(9):
        case 0 | 1 | 2 if at < len(data):
            flipped = data[at] ^ (1 << rng.randrange(8))
            return data[:at] + bytes([flipped]) + data[at + 1 :]
        case 3:  # a count, a kind or an index
            number = rng.choice(_INTEGERS).to_bytes(4, "little")
            return data[:at] + number[: end - at] + data[end:]
        case 4:
            return data[:at] + data[end:]
        case 5:
            return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:]
        case 6:
            other = rng.choice(donors)
            return data[:at] + other[at:end] + data[end:]
        case 7:
            return data[:at] if rng.random() < 0.5 else data + data[at:end]
        case _ if rng.random() < 0.03:  # longer than anything may be
            return data + bytes(rng.choice((1 << 10, 1 << 16, MOST_BYTES)))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def restructure(rng: Random, base: bytes, donors: Sequence[bytes]) -> bytes | None:
    """Change a field of a message and encode it; None if that gives no bytes."""
    message, donor = read(base), read(rng.choice(donors))
    if message is None:
        return None
    try:
        for _ in range(rng.choice((1, 1, 1, 2))):
            message = _change(rng, message, donor)
        encoded = message.encode()
    except Exception:  # no class ever holds such fields; there are no bytes to send
        return None
    return encoded if isinstance(encoded, bytes) else None


@lru_cache(maxsize=4096)
def read(data: bytes) -> Any:
    """Return the message that valid bytes encode, None for others."""
    rounds = (*corpus.ROUNDS.values(), *corpus.OTHERS.values())
    limits = {round_.limits for round_ in rounds} | {Limits(4), Limits(6)}
    kinds = (EncryptedInput, EncryptedTotal, PlainInput)
    readers = [kind.decode for kind in kinds]
    readers += [lambda data, one=one: decode(data, one) for one in limits]
    for reader in readers:
        try:
            return reader(data)
        except SecaggError:
            continue
    return None


def _change(rng: Random, value: Any, donor: Any) -> Any:
    """Return another value of the same kind, or nearly."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _change_field(rng, value, donor)
    if isinstance(value, tuple):
        return _change_tuple(rng, value, donor)
    if isinstance(value, frozenset):
        other = rng.choice((*range(10), 63, 255, 4095))  # of a set of roster indices
        return value ^ {other} if rng.random() < 0.9 else frozenset()
    if isinstance(value, bytes | memoryview):
        return _change_bytes(rng, bytes(value))
    if isinstance(value, str):
        return rng.choice((*_NAMES, value + "x", value.upper(), "é" + value))
    if isinstance(value, float):
        return rng.choice((*_FLOATS, value * 2, value / 2))
    if isinstance(value, Enum | bool) or value is None:
        return rng.choice((0, 1, 2, 3, 255))
    if isinstance(value, int):
        return rng.choice((*_INTEGERS, value ^ 1, value + 1, max(0, value - 1)))
    return value


def _change_field(rng: Random, value: Any, donor: Any) -> Any:
    """Return a copy with one field changed, past the checks of its class."""
    names = [one.name for one in dataclasses.fields(value)]
    chosen = rng.choice(names)
    if type(donor) is type(value) and rng.random() < 0.2:
        changed = getattr(donor, chosen)  # of another client, step or round
    else:
        changed = _change(rng, getattr(value, chosen), donor)
    copy = object.__new__(type(value))
    for name in names:
        new = changed if name == chosen else getattr(value, name)
        object.__setattr__(copy, name, new)
    return copy


def _change_tuple(rng: Random, value: tuple[Any, ...], donor: Any) -> tuple[Any, ...]:
    if not value:
        return value
    at, other = rng.randrange(len(value)), rng.randrange(len(value))
    items = list(value)
    match rng.randrange(8):
        case 0:
            del items[at]
        case 1:
            items.insert(other, items[at])
        case 2:
            items[at], items[other] = items[other], items[at]
        case 3:
            items.reverse()
        case 4 if rng.random() < 0.3:
            items = items * 20
        case 5 if rng.random() < 0.3:
            items = []
        case _:
            items[at] = _change(rng, items[at], donor)
    return tuple(items)


def _change_bytes(rng: Random, value: bytes) -> bytes:
    if not value:
        return rng.choice((b"", b"\0", bytes(32), rng.randbytes(64)))
    at = rng.randrange(len(value))
    match rng.randrange(8):
        case 0:
            return bytes(len(value))
        case 1:
            return b"\xff" * len(value)
        case 2:
            return rng.randbytes(len(value))
        case 3 if rng.random() < 0.3:
            return value[:-1]
        case 4 if rng.random() < 0.3:
            return value + b"\0"
    return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
