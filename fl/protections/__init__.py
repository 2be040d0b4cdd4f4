"""From the name of a protection in the configuration to what runs it.

One table. What each protection proves, and under which assumption, stands beside it, so
that the page never says more than the protocol does. A protection that this federation
cannot have is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from fl.config import Config
from fl.protection import Protection
from fl.protections.approximate import he_ckks
from fl.protections.distributed import distributed_dp
from fl.protections.doubled import encrypted_dp_sgd, masked_dp_sgd
from fl.protections.encrypted import he_bfv, he_compact
from fl.protections.ftrl import dp_ftrl, masked_dp_ftrl
from fl.protections.hiding import masks, none
from fl.protections.local import local_dp
from fl.protections.noised import central_dp, dp_sgd, masked_central_dp
from fl.protections.selective import he_selective

_TABLE: dict[str, Callable[[Config, int], Protection]] = {
    "none": none,
    "secagg": masks,
    "he-bfv": he_bfv,
    "he-compact": he_compact,
    "he-ckks": he_ckks,
    "he-selective": he_selective,
    "dp-sgd": dp_sgd,
    "secagg+dp-sgd": masked_dp_sgd,
    "he-bfv+dp-sgd": encrypted_dp_sgd,
    "central-dp": central_dp,
    "secagg+central-dp": masked_central_dp,
    "distributed-dp": distributed_dp,
    "dp-ftrl": dp_ftrl,
    "secagg+dp-ftrl": masked_dp_ftrl,
    "local-dp": local_dp,
}
NAMES = tuple(_TABLE)


def build(name: str, config: Config, clients: int) -> Protection:
    """Return the protection called ``name`` for ``clients`` clients.

    Raises:
        UnavailableError: this federation or machine cannot have it.
        secagg.ParameterError: the caller's numbers admit no such protection.
    """
    return _TABLE[name](config, clients)
