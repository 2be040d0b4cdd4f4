"""One round of Flower's SecAgg+, unmodified, with all parties in this process.

Its own workflow is the server and its own mod the client; between them stands a grid
that hands each message over without serialising it, which favours it.  The strategy
does nothing.  Time is CPU time of all threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

CLIENTS, SERVER = "clients", "server"
_CONFIGS = "secaggplus_configs"


class _Grid:
    """Carries messages to the clients' mod and back; silent clients do not answer."""

    def __init__(
        self, vector_of: Callable[[int], np.ndarray], gone: Mapping[int, str]
    ) -> None:
        from flwr.app import Context, RecordDict

        self.cpu_s = {CLIENTS: 0.0, SERVER: 0.0}
        self._vector_of, self._gone = vector_of, gone
        self._context = lambda node: Context(
            run_id=0, node_id=node, node_config={}, state=RecordDict(), run_config={}
        )
        self._contexts: dict[int, object] = {}
        self._silent: set[int] = set()
        self._last = time.process_time()

    def send_and_receive(
        self, messages: Iterable[object], *, timeout: float | None = None
    ) -> list[object]:
        """Deliver each message; collect the answers."""
        from flwr.app import ConfigRecord
        from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod

        answers = []
        for message in messages:
            self._charge(SERVER)
            node = message.metadata.dst_node_id
            # One record goes to all, and a client takes the stage out of it: a copy
            # stands for what a wire would have made; its time is not charged.
            records = message.content.config_records
            records[_CONFIGS] = ConfigRecord(dict(records[_CONFIGS]))
            stage = records[_CONFIGS]["stage"]
            original = dict(records[_CONFIGS])
            self._last = time.process_time()
            if node in self._silent:
                continue
            if node not in self._contexts:
                self._contexts[node] = self._context(node)
            answer = secaggplus_mod(message, self._contexts[node], self._train)
            self._charge(CLIENTS)
            records[_CONFIGS] = ConfigRecord(original)
            if self._gone.get(node) == stage:
                self._silent.add(node)
                continue
            answers.append(answer)
        self._charge(CLIENTS)
        return answers

    def _train(self, message: object, context: object) -> object:
        """Stand in for training: the client's vector, of weight 1."""
        from flwr.app import Message
        from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
        from flwr.compat.common import recorddict_compat as compat

        self._charge(CLIENTS)
        vector = self._vector_of(message.metadata.dst_node_id)
        self._last = time.process_time()
        result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([vector]), 1, {})
        content = compat.fitres_to_recorddict(result, keep_input=False)
        return Message(content, reply_to=message)

    def _charge(self, role: str) -> None:
        now = time.process_time()
        self.cpu_s[role] += now - self._last
        self._last = now


class _Strategy:
    """Invites everybody, and keeps the mean that the workflow hands over."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)
        self.mean: np.ndarray | None = None

    def configure_fit(self, server_round, parameters, client_manager):
        from flwr.common import FitIns

        return [(_Proxy(node), FitIns(parameters, {})) for node in self._nodes]

    def aggregate_fit(self, server_round, results, failures):
        from flwr.common import parameters_to_ndarrays

        if results:
            (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


class _Proxy:
    def __init__(self, node: int) -> None:
        self.node_id = node


class _Manager:
    def num_available(self) -> int:
        return 0


def play(
    *,
    clients: int,
    shares: int,
    threshold: int,
    vector_of: Callable[[int], np.ndarray],
    gone: Mapping[int, str],
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Run one round; return the mean and the CPU seconds of both roles.

    Args:
        clients: n; nodes are numbered from 1.
        shares: Shares of a secret, its owner's included; odd below n.
        threshold: Shares that give it back.
        vector_of: A node's vector.
        gone: Stage by node whose answer to it and later is lost.
    """
    from flwr.app import Context, RecordDict
    from flwr.common import ConfigRecord, ndarrays_to_parameters
    from flwr.compat.common import recorddict_compat as compat
    from flwr.server import LegacyContext, ServerConfig
    from flwr.server.workflow import SecAggPlusWorkflow
    from flwr.server.workflow.constant import (
        MAIN_CONFIGS_RECORD,
        MAIN_PARAMS_RECORD,
        Key,
    )
    from flwr.supercore.task_identity import TaskIdentity

    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 0
    nodes = range(1, clients + 1)
    strategy = _Strategy(nodes)
    context = LegacyContext(
        context=Context(
            run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={}
        ),
        config=ServerConfig(num_rounds=1),
        strategy=strategy,
        client_manager=_Manager(),
    )
    records = context.state
    records.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    start = ndarrays_to_parameters([np.zeros(1, dtype=np.float32)])
    records.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
        start, keep_input=True
    )
    workflow = SecAggPlusWorkflow(
        num_shares=shares, reconstruction_threshold=threshold, max_weight=1.0
    )
    grid = _Grid(vector_of, gone)
    workflow(grid, context)
    grid._charge(SERVER)
    return strategy.mean, dict(grid.cpu_s)
