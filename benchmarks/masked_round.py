"""A real round, held where each client may upload, so that single steps can be timed.

Every client serves once: what is measured is its `prepare` and its `offer`, which
encodes, masks, packs and writes the message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

import secagg
from secagg import encode
from secagg.threads import THREADS_VARIABLE
from secagg.upload import MaskedInput

CLIENTS = 33
CONTEXT = secagg.context(b"benchmark")
# 16-bit values in a ring of 26 bits, as 1,000 clients of weight one have it.
ENCODER = secagg.Encoder(value_bits=16, weight_max=31, clip_norm_l2=1.0)
UNIFORM = secagg.Encoder(value_bits=16, weight_max=1, clip_norm_l2=1.0)


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one call."""

    wall_s: float
    cpu_s: float


class Ready:
    """A server and clients that know u2.

    Args:
        length: Parameters.
        cipher: Of the masks.
    """

    def __init__(self, length: int, cipher: str) -> None:
        names = [f"client-{i:02d}" for i in range(CLIENTS)]
        rng = np.random.default_rng(1)
        self._vectors = {
            name: (0.9 * rng.normal(size=length) / length**0.5).astype(np.float32)
            for name in names
        }
        self._plan = secagg.plan(
            CLIENTS, 3, 3, graph="complete", encoder=ENCODER, cipher=cipher
        )
        self._server = secagg.Server(
            self._plan, names, session=b"benchmark", length=length
        )
        self._clients = {
            name: secagg.Client(self._plan, secagg.Policy(), me=name) for name in names
        }
        self._fresh = list(names)
        self._uploads: dict[str, tuple[bytes, ...]] = {}
        self._pass_on(list(self._server.start()))

    def prepare(self) -> Took:
        """Let the next client prepare its masks; the next ``offer`` is its own."""
        client = self._clients[self._fresh[0]]
        return timed(lambda: client.prepare(CONTEXT))

    def offer(self) -> Took:
        """Let the next client upload."""
        name = self._fresh.pop(0)
        client, vector = self._clients[name], self._vectors[name]

        def upload() -> None:
            self._uploads[name] = client.offer(vector, context=CONTEXT)

        return timed(upload)

    def finish(self) -> None:
        """Let all others upload, and check the mean.

        Raises:
            RuntimeError: It is not the mean of the vectors.
        """
        while self._fresh:
            self.offer()
        for name, messages in self._uploads.items():
            for data in messages:
                self._pass_on(list(self._server.receive(name, data)))
        mean = self._server.result().mean
        true = np.mean(list(self._vectors.values()), axis=0, dtype=np.float64)
        gap = float(np.abs(mean - true).max())
        if not gap <= self._plan.encoder.max_error:
            raise RuntimeError(f"the mean is off by {gap}.")

    def _pass_on(self, queue: list[tuple[str, bytes]]) -> None:
        while queue:
            name, data = queue.pop(0)
            for reply in self._clients[name].receive(data):
                queue.extend(self._server.receive(name, reply))


def upload_bytes_per_parameter(clients: int, length: int) -> float:
    """Return the size of an upload of 16-bit values of weight one, header included."""
    where = encode.layout(UNIFORM, clients=clients, length=length)
    empty = MaskedInput(bytes(32), 0, CONTEXT, b"").encode()
    return (where.packed_bytes + len(empty)) / length


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Mask with so many threads inside."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]
        else:
            os.environ[THREADS_VARIABLE] = before


def timed(call: Callable[[], object]) -> Took:
    """Return what a call took, of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)
