"""What NVFlare's homomorphic encryption does, step by step, with our TenSEAL.

Its provisioning makes CKKS with N = 8192, primes of 60, 40 and 40 bits and a scale of
2^40, symmetric, with relinearisation keys; one secret key goes to all clients.  Each
tensor is encrypted alone, and sent with the context that it was encrypted under; the
server adds, multiplies by the reciprocal of the total weight, and sends the vectors.
One thread; NVFlare's own filters, as they are, run in `nvflare_he`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from benchmarks.peers.asking import MissingError
from benchmarks.peers.sealing import serve
from benchmarks.sealed import Shapes, tensors

DEGREE, PRIME_BITS, SCALE_BITS = 8192, [60, 40, 40], 40
THREADS = 1


def check() -> None:
    """Refuse if TenSEAL is missing.

    Raises:
        MissingError: it is not installed.
    """
    if importlib.util.find_spec("tenseal") is None:
        raise MissingError("no TenSEAL (pip install 'blindsum[he]')")


def make_context(api: Any, **options: int) -> Any:
    """Return a context as its provisioning makes them."""
    made = api.context(
        api.SCHEME_TYPE.CKKS,
        poly_modulus_degree=DEGREE,
        coeff_mod_bit_sizes=PRIME_BITS,
        encryption_type=api.ENCRYPTION_TYPE.SYMMETRIC,
        **options,
    )
    made.generate_relin_keys()
    made.global_scale = 2**SCALE_BITS
    return made


def contexts(made: Any) -> tuple[bytes, bytes]:
    """Return what its provisioning writes for the clients, and for the server."""
    kept = {"save_galois_keys": False, "save_relin_keys": True}
    return (
        made.serialize(save_public_key=True, save_secret_key=True, **kept),
        made.serialize(save_public_key=False, save_secret_key=False, **kept),
    )


class Path:
    """One round of equal weights.

    Args:
        shapes: of the tensors.
        clients: of the sum.
    """

    def __init__(self, shapes: Shapes, clients: int) -> None:
        import tenseal

        self._api, self._shapes, self._clients = tenseal, shapes, clients
        made = make_context(tenseal, n_threads=THREADS)
        self._client = self._context(contexts(made)[0])
        self._server = self._context(contexts(made)[1])
        self._sums: dict[str, Any] = {}

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what weighs, encrypts and serialises, tensor by tensor."""
        model = tensors(self._shapes, vector)

        def upload() -> bytes:
            sent = {}
            for name, tensor in model.items():
                values = tensor.ravel() * np.float64(1.0)  # its weight
                sealed = self._api.ckks_vector(self._client, values)
                sent[name] = (sealed.serialize(), sealed.context().serialize())
            return msgspec.msgpack.encode(sent)

        return upload

    def add(self, number: int, data: bytes) -> None:
        """Load context and vector of each tensor, and add the vector."""
        for name, (sealed, context) in msgspec.msgpack.decode(data).items():
            one = self._api.ckks_vector_from(self._context(context), sealed)
            known = self._sums.get(name)
            self._sums[name] = one if known is None else known + one

    def total(self) -> bytes:
        """Divide by the total weight, which rescales, and serialise."""
        share = 1.0 / self._clients
        means = {name: (one * share).serialize() for name, one in self._sums.items()}
        return msgspec.msgpack.encode(means)

    def open(self, data: bytes) -> np.ndarray:
        """Decrypt every tensor."""
        secret, parts = self._client.secret_key(), []
        for sealed in msgspec.msgpack.decode(data).values():
            one = self._api.ckks_vector_from(self._client, sealed)
            parts.append(one.decrypt(secret_key=secret))
        return np.concatenate([np.asarray(part) for part in parts])

    def _context(self, data: bytes) -> Any:
        return self._api.context_from(data, n_threads=THREADS)


if __name__ == "__main__":
    serve(lambda work: Path(work.shapes, work.clients))
