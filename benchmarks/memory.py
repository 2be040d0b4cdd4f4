"""What a round of long vectors takes in memory, in models of 4 bytes a parameter.

A real round of few clients in this process.  A client's peak is counted from before it
is offered its vector, which is not counted, until its message is complete; the server's
contains the message in hand.  `tracemalloc` counts what numpy allocates as well; beside
it stands what the operating system saw the whole process take, vector and all.
"""

from __future__ import annotations

import resource
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

import secagg
from secagg.invite import Step
from secagg.messages import step_of

CLIENTS = 4
MODEL_BYTES = 4
CONTEXT = secagg.context(b"benchmark")
ENCODER = secagg.Encoder(clip_norm_l2=16.0, value_bits=16, weight_max=1)
KINDS = {  # the first one at full length
    "": ENCODER,
    "_rotated": replace(ENCODER, rotate=True),
    "_64_bit_words": secagg.Encoder(),
}
_BLOCK = 1 << 20
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Peaks:
    """Models held at most."""

    client: float
    server: float
    process: float


def measure(quick: bool) -> dict[str, float]:
    """Print the table and return the figures."""
    lengths = (10**6, 10**6) if quick else (10**8, 10**7)
    figures: dict[str, float] = {}
    print(f"{CLIENTS} clients, one gone; models of {MODEL_BYTES} bytes a parameter")
    print(f"{'parameters':>12}{'ring':>6}{'client':>9}{'server':>9}{'process':>9}")
    for number, (name, encoder) in enumerate(KINDS.items()):
        length = lengths[number > 0]
        began = time.perf_counter()
        peaks = play(encoder, length)
        figures[f"client_peak_models{name}"] = peaks.client
        figures[f"server_peak_models{name}"] = peaks.server
        process = f"{peaks.process:>9.3f}" if number == 0 else f"{'-':>9}"
        if number == 0:  # the most a process ever took says nothing of later rounds
            figures["process_peak_models"] = peaks.process
        print(
            f"{length:>12}{encoder.ring_bits(CLIENTS):>6}{peaks.client:>9.3f}"
            f"{peaks.server:>9.3f}{process}   in "
            f"{time.perf_counter() - began:.1f} s{name.replace('_', ' ')}"
        )
    figures["length"] = float(lengths[0])
    return figures


def play(encoder: secagg.Encoder, length: int) -> Peaks:
    """Play one round, in which the last client vanishes before it uploads.

    Raises:
        RuntimeError: The mean is not that of the vectors.
    """
    model = MODEL_BYTES * length
    plan = secagg.plan(CLIENTS, 1, 1, graph="complete", encoder=encoder)
    names = [f"client-{i}" for i in range(CLIENTS)]
    policy = secagg.Policy(min_clients=CLIENTS, min_threshold=plan.threshold)
    clients = {name: secagg.Client(plan, policy, me=name) for name in names}
    server = secagg.Server(plan, names, session=b"benchmark", length=length)
    occupied = _resident()
    vector = np.random.default_rng(0).standard_normal(length, dtype=np.float32)
    vector /= np.float32(length**0.5)
    client_peak = server_peak = server_held = 0
    tracemalloc.start()
    try:
        requests = deque(server.start())
        while not server.finished:
            if not requests:
                requests.extend(server.timeout())
                continue
            name, request = requests.popleft()
            if step_of(request) is Step.MASKED_INPUT:
                if name == names[-1]:
                    continue
                answers, peak, _ = _watched(_upload, clients[name], vector, request)
                client_peak = max(client_peak, peak)
                vector *= 2  # the next one has another
            else:
                answers = clients[name].receive(request)
            for answer in answers:
                sent, peak, kept = _watched(server.receive, name, answer)
                server_peak = max(server_peak, server_held + peak + len(answer))
                server_held += kept
                requests.extend(sent)
            answers, answer = (), b""
    finally:
        tracemalloc.stop()
    vector *= np.float32((1 + 2 + 4) / 3 / 8)
    _check(server.result(), vector)
    return Peaks(
        client_peak / model, server_peak / model, (_most_resident() - occupied) / model
    )


def _upload(
    client: secagg.Client, vector: np.ndarray, request: bytes
) -> tuple[bytes, ...]:
    client.offer(vector, context=CONTEXT)
    return client.receive(request)


def _watched(call: Callable[..., _Answer], *given: object) -> tuple[_Answer, int, int]:
    """Return the result of a call, its peak, and what was kept of it, in bytes."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    result = call(*given)
    after, peak = tracemalloc.get_traced_memory()
    return result, peak - before, after - before


def _check(outcome: secagg.server.Outcome, exact: np.ndarray) -> None:
    for start in range(0, len(exact), _BLOCK):
        part = slice(start, start + _BLOCK)
        gap = float(np.abs(outcome.mean[part] - exact[part]).max())
        if not gap <= outcome.max_error:
            raise RuntimeError(f"the mean is off by {gap}.")


def _resident() -> int:
    """Return the bytes that this process has in memory now, if that can be known."""
    try:
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _most_resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
