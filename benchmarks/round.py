"""Rounds of secure aggregation: what they cost each role, how that grows, and a peer.

All messages are real, and a tenth of the clients vanishes between sharing keys and
uploading, which is the dearest moment for the server.  Every mean is compared with the
true one.  The peer is Flower's SecAgg+, with as many shares and the same threshold on
the same vectors; ours is played before and after it.  It is played once: its round of
100 clients on the complete graph takes minutes, half of the ten that all of this takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import secagg
from benchmarks.peers import flower_round
from benchmarks.played import CLIENTS, Played, name_of, play
from secagg.invite import SERVER, Step

PEERS = ("flower",)
ENCODER = secagg.Encoder(clip_norm_l2=16.0, value_bits=16, weight_max=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured.

    Attributes:
        length: Values in a vector.
        clients: Cohorts, smallest first, with how often each is played.
        complete: Cohort, threshold and dropouts of the comparison on the complete
            graph.
        sparse: Cohort, and neighbours of a client, of the one on a k-regular graph.
    """

    length: int
    clients: Mapping[int, int]
    complete: tuple[int, int, int]
    sparse: tuple[int, int]


FULL = Sizes(
    length=100_000,
    clients={100: 3, 1000: 2, 10_000: 1},
    complete=(100, 67, 10),
    sparse=(100, 22),
)
QUICK = Sizes(
    length=5_000, clients={100: 2, 300: 2}, complete=(12, 8, 1), sparse=(20, 8)
)


def measure(quick: bool, peers: Sequence[str] = PEERS) -> dict[str, float]:
    """Print the tables and return the figures."""
    sizes = QUICK if quick else FULL
    figures = _growth(sizes)
    if "flower" in peers:
        figures |= _beside_flower(sizes)
    else:
        print("not measured: Flower, which was not asked for")
    return figures


def _growth(sizes: Sizes) -> dict[str, float]:
    figures: dict[str, float] = {}
    medians: list[tuple[int, float, float]] = []
    _head()
    for clients, repeats in sizes.clients.items():
        plan = secagg.plan(clients, 0.1, 0.1, encoder=ENCODER)
        rounds = []
        for number in range(repeats):
            rounds.append(_play(plan, sizes.length, plan.drop, number))
            _row(plan, sizes.length, rounds[-1])
        client = float(np.median([played.client_ms for played in rounds]))
        server = float(np.median([played.server_s for played in rounds]))
        medians.append((clients, client, server))
        figures[f"client_cpu_ms_n{clients}"] = client
        figures[f"server_cpu_s_n{clients}"] = server
        up = sum(rounds[0].bytes_up.values()) / clients
        down = sum(rounds[0].bytes_down.values()) / clients
        figures[f"bytes_up_n{clients}"] = up
        figures[f"bytes_down_n{clients}"] = down
        figures[f"wall_s_n{clients}"] = float(np.median([r.wall_s for r in rounds]))
    n, client_ms, server_s = np.log(np.array(medians)).T
    figures["growth_exponent_client_cpu"] = float(np.polyfit(n, client_ms, 1)[0])
    figures["growth_exponent_server_cpu"] = float(np.polyfit(n, server_s, 1)[0])
    figures["length"] = float(sizes.length)
    return figures


def _beside_flower(sizes: Sizes) -> dict[str, float]:
    clients, threshold, gone = sizes.complete
    complete = secagg.plan(
        clients,
        clients // 10,
        clients - 1 - threshold,
        graph="complete",
        encoder=ENCODER,
    )
    _, neighbours = sizes.sparse
    sparse = secagg.Plan(
        clients=sizes.sparse[0],
        corrupt=sizes.sparse[0] // 10,
        drop=sizes.sparse[0] // 10,
        encoder=ENCODER,
        k=neighbours,
        t=neighbours // 2,
        sigma=1 if sizes is QUICK else 40,
        eta=1 if sizes is QUICK else 30,
        grinding_bits=0,
    )
    figures: dict[str, float] = {}
    for name, plan, shares in (
        ("speedup_vs_flower", complete, clients),
        ("speedup_vs_flower_k_regular", sparse, neighbours + 1),
    ):
        ours = [_play(plan, sizes.length, gone, number) for number in range(2)]
        theirs = _flower(plan, shares, sizes.length, gone)
        ours += [_play(plan, sizes.length, gone, 2)]
        totals = [
            played.client_ms * played.clients / 1e3 + played.server_s for played in ours
        ]
        for played in ours:
            _row(plan, sizes.length, played)
        client = 1e3 * theirs[CLIENTS] / plan.clients
        print(
            f"{plan.clients:>8}{plan.k:>5}{plan.t:>5}{sizes.length:>9}"
            f"  Flower's SecAgg+"
            f"{client:>22.1f} ms a client,{theirs[SERVER]:>10.2f} s the server, n = 1",
            flush=True,
        )
        figures[name] = sum(theirs.values()) / float(np.median(totals))
        mine = float(np.median([played.client_ms for played in ours]))
        figures[f"{name}_client"] = client / mine
        server = float(np.median([played.server_s for played in ours]))
        figures[f"{name}_server"] = theirs[SERVER] / server
    return figures


def _play(plan: secagg.Plan, length: int, gone: int, number: int) -> Played:
    """Play a round in which clients 0, 10, 20, ... vanish, and check its mean."""
    base = _base(length)
    vanish = {name_of(10 * i): str(Step.MASKED_INPUT) for i in range(gone)}
    played = play(
        plan,
        lambda name: base * _factor(int(name[-6:])),
        length=length,
        gone=vanish,
        session=b"benchmark/%d" % number,
    )
    factors = [_factor(i) for i in range(plan.clients) if name_of(i) not in vanish]
    gap = float(np.abs(played.mean - base * np.float32(np.mean(factors))).max())
    if gap > played.max_error or len(played.survivors) != plan.clients - gone:
        raise RuntimeError(f"the mean is off by {gap}, more than {played.max_error}.")
    return played


def _flower(plan: secagg.Plan, shares: int, length: int, gone: int) -> dict[str, float]:
    base = _base(length)
    nodes = {1 + 10 * i: "collect_masked_vectors" for i in range(gone)}
    mean, cpu_s = flower_round.play(
        clients=plan.clients,
        shares=shares,
        threshold=plan.t,
        vector_of=lambda node: base * _factor(node - 1),
        gone=nodes,
    )
    factors = [_factor(i) for i in range(plan.clients) if i + 1 not in nodes]
    gap = (
        np.inf if mean is None else float(np.abs(mean - base * np.mean(factors)).max())
    )
    if gap > 1e-4:
        raise RuntimeError(f"Flower's mean is off by {gap}.")
    return cpu_s


def _base(length: int) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=length)
    return (drawn / np.sqrt(length)).astype(np.float32)


def _factor(index: int) -> np.float32:
    return np.float32(1 + index % 7)


def _head() -> None:
    steps = "".join(f"{step:>16}" for step in Step)
    print(f"{'clients':>8}{'k':>5}{'t':>5}{'length':>9}  CPU of{steps}{'in all':>12}")


def _row(plan: secagg.Plan, length: int, played: Played) -> None:
    start = f"{plan.clients:>8}{plan.k:>5}{plan.t:>5}{length:>9}"
    for role, scale, total, unit in (
        (CLIENTS, 1e3 / plan.clients, played.client_ms, "ms"),
        (SERVER, 1.0, played.server_s, "s"),
    ):
        name = "client" if role == CLIENTS else role
        steps = "".join(
            f"{scale * played.cpu_s.get((role, str(step)), 0.0):>16.3f}"
            for step in Step
        )
        print(f"{start}  {name:<6}{steps}{total:>9.2f} {unit}", flush=True)
