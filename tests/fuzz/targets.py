"""What hostile bytes are fed to; each target returns how far they got.

A target raises for a finding and for nothing else: an ``AssertionError`` for a broken
promise, or whatever untyped error escaped.  It keeps no state between cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from secagg.ciphertext import EncryptedInput, EncryptedTotal
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.params import decode_plan, plan_bytes
from secagg.upload import PlainInput
from tests.fuzz import corpus
from tests.fuzz.corpus import Round
from tests.fuzz.layers import Layer, walk, walk_alone
from tests.fuzz.sides import feed_client, feed_server, feed_summer


@dataclass(frozen=True)
class Target:
    """One place where bytes arrive.

    Attributes:
        name: For reports and replays.
        group: Column of the table.
        run: Feeds it.
        bases: Valid messages for it, to be damaged.
        weight: How often it is chosen.
        capped: Whether it knows a cap before it reads a body.
    """

    name: str
    group: str
    run: Callable[[bytes], Layer]
    bases: Sequence[bytes] = field(repr=False)
    weight: float = 1.0
    capped: bool = True


# --- decoders ------------------------------------------------------------------------


def read_plan(data: bytes) -> Layer:
    """Decode a plan; its header is version and suite."""
    try:
        size = plan_bytes(data)
    except DecodeError:
        size = -1
    layer = Layer.NOTHING if size < 0 else Layer.TAG
    layer = Layer.CAP if len(data) == size else layer
    try:
        plan = decode_plan(data)
    except DecodeError as error:
        assert str(error).endswith("."), f"no sentence: {error}"
        return layer
    assert layer is Layer.CAP, f"decoded a plan that got to {layer.name}"
    assert plan.encode() == data, "re-encodes to other bytes"
    return Layer.CANONICAL


def read_alone(kind: type, data: bytes) -> Layer:
    """Decode a message of another aggregator and read its numbers."""
    layer, message = walk_alone(data, kind.TAG, kind.decode)
    try:
        if isinstance(message, PlainInput):
            assert np.isfinite(message.values()).all()
        if isinstance(message, EncryptedInput):
            message.legible()
        if isinstance(message, EncryptedTotal):
            message.residues()
    except DecodeError:
        pass  # coefficients that are not reduced are found when they are read
    return layer


# --- all of them ---------------------------------------------------------------------


def _client_targets(round_: Round) -> list[Target]:
    """Return a target per state of a client; damage what comes next, mostly."""
    made = []
    for requests in range(4):
        for offered in (True, False):
            if not offered and requests == 3:
                continue  # nothing is asked of a client without a vector then
            run = partial(feed_client, round_, requests, offered)
            state = f"{requests}{' offered' if offered else ''}"
            name = f"client {round_.graph} {state}"
            bases = _mostly(round_.requests[requests])
            made.append(Target(name, "clients", run, bases))
    return made


def _server_targets(round_: Round) -> list[Target]:
    """Return two targets per step of a server: nobody and somebody answered before."""
    made = []
    answers = round_.answers
    for step in Step:
        first = next(i for i, wire in enumerate(answers) if wire.step == step)
        for at in (first, first + 2):
            run = partial(feed_server, round_, at)
            bases = _mostly(answers[at].data)
            name = f"server {round_.graph} {step} {at - first}"
            made.append(Target(name, "servers", run, bases))
    return made


def _mostly(expected: bytes) -> list[bytes]:
    """Return what is expected, three times in four, and all other messages."""
    return [expected] * (3 * len(corpus.MESSAGES)) + corpus.MESSAGES


def _decoders() -> list[Target]:
    limits = {graph: round_.limits for graph, round_ in corpus.ROUNDS.items()}
    limits["before the invitation"] = Limits(4)
    made = [
        Target(f"message, {when}", "decoders", partial(_walk, known), corpus.MESSAGES)
        for when, known in limits.items()
    ]
    for kind, bases in (
        (PlainInput, corpus.PLAIN),
        (EncryptedInput, corpus.ENCRYPTED),
        (EncryptedTotal, corpus.TOTALS),
    ):
        run = partial(read_alone, kind)
        made.append(Target(kind.__name__, "decoders", run, bases, 0.08, False))
    made.append(Target("plan", "decoders", read_plan, corpus.PLANS, 0.3))
    return made


def _walk(limits: Limits, data: bytes) -> Layer:
    return walk(data, limits)


def _spread(targets: list[Target], share: float) -> list[Target]:
    """Give targets a share of all cases, in the proportion of their weights."""
    total = sum(target.weight for target in targets)
    return [replace(t, weight=t.weight / total * share) for t in targets]


ADDER = Target("adder of ciphertexts", "servers", feed_summer, corpus.ENCRYPTED)
TARGETS = [
    *_spread(_decoders(), 0.89),
    *_spread([t for r in corpus.ROUNDS.values() for t in _client_targets(r)], 0.05),
    *_spread([t for r in corpus.ROUNDS.values() for t in _server_targets(r)], 0.05),
    *_spread([ADDER], 0.01),
]
