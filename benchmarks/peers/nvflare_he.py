"""NVFlare's own homomorphic filters, unmodified, in an environment of their own.

The components of its recipe for averaging under encryption, called as its workflow
calls them, with a context made and split as its provisioning does: encryptor and `fobs`
(its serialiser) at the client; `fobs`, aggregator and generator at the server; `fobs`
and decryptor at the client.  Its threads are as many as it takes by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.environment import python_of
from benchmarks.peers.nvflare_he_path import contexts, make_context
from benchmarks.peers.sealing import serve
from benchmarks.sealed import Shapes, Work, tensors

REQUIREMENTS = ("nvflare[HE]==2.9.0",)


def python() -> str:
    """Return the interpreter that has NVFlare.

    Raises:
        MissingError: it cannot be installed.
    """
    return python_of("nvflare_he", REQUIREMENTS)


class Recipe:
    """One round of equal weights, by NVFlare's components.

    Args:
        shapes: of the tensors.
        folder: of the contexts that its provisioning would hand out.
    """

    def __init__(self, shapes: Shapes, folder: Path) -> None:
        import tenseal
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_constant import FLContextKey, ReservedKey
        from nvflare.apis.fl_context import FLContext
        from nvflare.app_common.abstract.model import make_model_learnable
        from nvflare.app_common.app_constant import AppConstants
        from nvflare.app_opt.he.intime_accumulate_model_aggregator import (
            HEInTimeAccumulateWeightedAggregator,
        )
        from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
        from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
        from nvflare.app_opt.he.model_shareable_generator import (
            HEModelShareableGenerator,
        )
        from nvflare.fuel.sec.security_content_service import SecurityContentService

        client, server = contexts(make_context(tenseal))
        (folder / "client_context.tenseal").write_bytes(client)
        (folder / "server_context.tenseal").write_bytes(server)
        SecurityContentService.security_content_manager = None
        SecurityContentService.initialize(str(folder))
        self._shapes = shapes
        self._context = FLContext()
        # Signatures are for files that its provisioning signs: there is none here.
        self._context.set_prop(FLContextKey.SECURE_MODE, False)
        peer = FLContext()
        peer.put(ReservedKey.IDENTITY_NAME, "site", private=False, sticky=False)
        self._context.set_peer_context(peer)
        self._context.set_prop(AppConstants.CURRENT_ROUND, 0)
        self._encryptor = HEModelEncryptor(weigh_by_local_iter=True)
        self._decryptor = HEModelDecryptor()
        self._aggregator = HEInTimeAccumulateWeightedAggregator(
            expected_data_kind="WEIGHTS", weigh_by_local_iter=False
        )
        self._generator = HEModelShareableGenerator()
        self._context.set_prop(
            AppConstants.GLOBAL_MODEL, make_model_learnable({"unused": 0}, {})
        )
        for one in (
            self._encryptor,
            self._decryptor,
            self._aggregator,
            self._generator,
        ):
            one.handle_event(EventType.START_RUN, self._context)

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what filters and serialises a client's result."""
        from nvflare.apis.dxo import DXO, DataKind, MetaKey
        from nvflare.fuel.utils import fobs

        dxo = DXO(DataKind.WEIGHTS, dict(tensors(self._shapes, vector)))
        dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1)
        result = dxo.to_shareable()
        return lambda: fobs.dumps(self._encryptor.process(result, self._context))

    def add(self, number: int, data: bytes) -> None:
        """Deserialise and accept a client's result."""
        from nvflare.apis.fl_constant import ReservedKey
        from nvflare.app_common.app_constant import AppConstants
        from nvflare.fuel.utils import fobs

        result = fobs.loads(data)
        result.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{number}"})
        result.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
        if not self._aggregator.accept(result, self._context):
            raise RuntimeError("NVFlare's aggregator refused a result.")

    def total(self) -> bytes:
        """Aggregate, make the new model of it, and serialise that."""
        from nvflare.fuel.utils import fobs

        mean = self._aggregator.aggregate(self._context)
        model = self._generator.shareable_to_learnable(mean, self._context)
        sent = self._generator.learnable_to_shareable(model, self._context)
        return bytes(fobs.dumps(sent))

    def open(self, data: bytes) -> np.ndarray:
        """Deserialise and filter the server's model."""
        from nvflare.apis.dxo import from_shareable
        from nvflare.fuel.utils import fobs

        opened = self._decryptor.process(fobs.loads(data), self._context)
        model: Mapping[str, Any] = from_shareable(opened).data
        return np.concatenate([np.asarray(model[name]) for name in sorted(model)])


def _recipe(work: Work) -> Recipe:
    with tempfile.TemporaryDirectory() as folder:
        return Recipe(work.shapes, Path(folder))


if __name__ == "__main__":
    serve(_recipe)
