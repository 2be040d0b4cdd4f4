"""Secure aggregation: a server learns the weighted mean of its clients, and no vector.

Ten lines, all parties in one process::

    import numpy as np, secagg

    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    print(plan)                              # what is guaranteed, in one sentence
    updates = {f"site-{i}": np.full(4, i / 10) for i in range(10)}
    out = secagg.run_round(plan, updates, vanish={"site-3": "masked_input"})
    out.mean, out.weight, out.survivors, out.max_error

Over a network, ``Client`` and ``Server`` take bytes and return bytes (see
examples/transport.py).  From 64 clients on, a client masks against k neighbours instead
of everybody (the plan says how many, and how surely that is enough).  The server is
trusted to follow the protocol (semi-honest); it may pool what it sees with up to
``corrupt`` clients.  What a sum itself reveals is not
prevented here; that is the part of differential privacy.
"""

from secagg.aggregator import Aggregator, PairwiseMask, PlainSum
from secagg.client import Client
from secagg.encoder import Encoder
from secagg.errors import (
    AbortError,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    SecaggError,
)
from secagg.keys import IdentityKey
from secagg.monitor import participation
from secagg.params import Plan
from secagg.planning import plan
from secagg.policy import Policy
from secagg.prg import simulation_rng
from secagg.round import RoundResult, run_round
from secagg.schema import Schema, flatten
from secagg.server import Server
from secagg.store import Store
from secagg.transcript import Transcript
from secagg.usage import context

__all__ = [
    "AbortError",
    "Aggregator",
    "Client",
    "Encoder",
    "IdentityKey",
    "IntegrityError",
    "LocalProtocolError",
    "PairwiseMask",
    "ParameterError",
    "PlainSum",
    "Plan",
    "Policy",
    "RemoteProtocolError",
    "RoundResult",
    "Schema",
    "SecaggError",
    "Server",
    "Store",
    "Transcript",
    "context",
    "flatten",
    "participation",
    "plan",
    "run_round",
    "simulation_rng",
]
