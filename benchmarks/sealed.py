"""One encrypted round as arrays: what every side gets, and what it says it took.

Nothing of ours is imported, so that a peer's own process can read and write them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

Shapes = tuple[tuple[int, ...], ...]
_Answer = TypeVar("_Answer")


def _convolution(here: int, there: int, *, normed: bool = False) -> Shapes:
    """Return weight and bias of a 3x3 convolution, and those of its batch norm."""
    return ((there, here, 3, 3), *((there,),) * (3 if normed else 1))


def _dense(here: int, there: int) -> Shapes:
    return ((there, here), (there,))


# The CNN for CIFAR-10 that federated examples use: 22 tensors, 5,852,106 parameters.
LARGE: Shapes = (
    *_convolution(3, 32),
    *_convolution(32, 64),
    *_convolution(64, 128, normed=True),
    *_convolution(128, 128),
    *_convolution(128, 256, normed=True),
    *_convolution(256, 256),
    *_dense(4096, 1024),
    *_dense(1024, 512),
    *_dense(512, 10),
)
# A smaller one of the same kind: 12 tensors, 1,016,074 parameters.
SMALL: Shapes = (
    *_convolution(3, 32),
    *_convolution(32, 64),
    *_convolution(64, 128, normed=True),
    *_dense(2048, 448),
    *_dense(448, 10),
)


def parameters(shapes: Shapes) -> int:
    """Return the number of values in all tensors."""
    return sum(map(math.prod, shapes))


def tensors(shapes: Shapes, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Return a vector as the named tensors of a model."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(vector, ends[:-1])
    return {
        f"tensor-{i:02d}": part.reshape(shape)
        for i, (part, shape) in enumerate(zip(parts, shapes, strict=True))
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Clients of weight one, whose vectors are to be encrypted and summed.

    Attributes:
        shapes: of the tensors that make up a vector.
        vectors: (distinct, parameters) float32, of the clients that encrypt.
        clients: inputs of the sum; client i sends what client i mod distinct encrypted.
    """

    shapes: Shapes
    vectors: np.ndarray
    clients: int

    def mean(self) -> np.ndarray:
        """Return the plain mean, (parameters,) float64."""
        total = np.zeros(self.vectors.shape[1])
        for i in range(self.clients):
            total += self.vectors[i % len(self.vectors)]
        return total / self.clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a side took; seconds are (CPU time of all threads, wall time).

    Attributes:
        upload_s: (distinct, 2), from a client's vector to the bytes of its message.
        server_s: (2,), from all clients' bytes to the bytes of the sum.
        download_s: (2,), from these to the mean, by one client.
        bytes_up: of one client's message.
        bytes_down: of the sum.
        mean: (parameters,) float64.
    """

    upload_s: np.ndarray
    server_s: np.ndarray
    download_s: np.ndarray
    bytes_up: int
    bytes_down: int
    mean: np.ndarray


class Side(Protocol):
    """The parties of one round; keys, contexts and tables are made beforehand."""

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what makes a client's message out of its vector, called once."""

    def add(self, number: int, data: bytes) -> None:
        """Let the server add the message of one more client."""

    def total(self) -> bytes:
        """Return the server's message to all clients."""

    def open(self, data: bytes) -> np.ndarray:
        """Return the mean that a client decrypts, (parameters,) float64."""


class Watch:
    """Adds up the CPU and wall time of the calls made through it."""

    def __init__(self) -> None:
        self.seconds = np.zeros(2)

    def over(self, call: Callable[[], _Answer]) -> _Answer:
        """Return what a call returns, and add what it took."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = call()
        self.seconds += time.process_time() - cpu, time.perf_counter() - wall
        return result


def play(work: Work, side: Side) -> Bill:
    """Let a side play the round, and time its three steps.

    Messages that several clients send are made once, and added as often as they are.
    """
    uploads, messages = [], []
    for number, vector in enumerate(work.vectors):
        ready = side.ready(number, vector)
        watch = Watch()
        messages.append(watch.over(ready))
        uploads.append(watch.seconds)
    server, download = Watch(), Watch()
    for i in range(work.clients):
        server.over(partial(side.add, i, messages[i % len(messages)]))
    total = server.over(side.total)
    mean = download.over(lambda: side.open(total))
    return Bill(
        upload_s=np.array(uploads),
        server_s=server.seconds,
        download_s=download.seconds,
        bytes_up=len(messages[0]),
        bytes_down=len(total),
        mean=mean,
    )


def save(path: Path, held: Work | Bill) -> None:
    """Write either as .npz."""
    fields = {name: getattr(held, name) for name in held.__slots__}
    if isinstance(held, Work):
        fields["shapes"] = json.dumps(held.shapes)
    np.savez(path, **fields)


def load_work(path: Path) -> Work:
    """Read what `save` wrote of a workload."""
    with np.load(path, allow_pickle=False) as file:
        shapes = tuple(tuple(shape) for shape in json.loads(str(file["shapes"])))
        return Work(
            shapes=shapes, vectors=file["vectors"], clients=int(file["clients"])
        )


def load_bill(path: Path) -> Bill:
    """Read what `save` wrote of a bill."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in Bill.__slots__}
    sizes = {name: int(arrays[name]) for name in ("bytes_up", "bytes_down")}
    return Bill(**arrays | sizes)
