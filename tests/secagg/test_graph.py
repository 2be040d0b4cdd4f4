"""The order of the ring, the graph, and what clients accept of it."""

import hashlib
import json
import math
import struct
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from Crypto.Cipher import AES

import secagg
from secagg import permutation
from secagg.dealing import SealedShares, ShareDelivery
from secagg.errors import RemoteProtocolError
from secagg.graph import Complete, Harary, graph_of, server_graph
from secagg.invite import SERVER
from secagg.keylist import KeyList, NeighbourKeys, PublicKeys
from secagg.member import Member
from secagg.messages import decode
from secagg.permutation import Permutation, rounds_for
from secagg.reveal import UnmaskRequest, UnmaskShares
from secagg.upload import MaskedInput
from tests.secagg.harness import GRAPHS, Network, make_updates

VECTORS = Path(__file__).parents[1] / "vectors"
SIZES = [1, 2, 3, 7, 100, 255, 256, 257, 600]
PLAN = GRAPHS["k-regular"]
UPDATES = make_updates(PLAN.clients, 6)


def seed(number):
    return number.to_bytes(32, "big")


# --- the permutation -----------------------------------------------------------------


def by_the_page(size, rounds, seed, point):
    """Follow docs/protocol.md, one point, with nothing of the package."""

    def digest(tag, *parts):
        tag = b"blindsum/secagg/2/" + tag
        text = b"".join(len(p).to_bytes(8, "little") + p for p in (tag, *parts))
        return int.from_bytes(hashlib.sha256(text).digest(), "little")

    cipher = AES.new(digest(b"graph-order", seed).to_bytes(32, "little"), AES.MODE_ECB)

    def block(i, j):
        counter = i.to_bytes(8, "little") + j.to_bytes(8, "little")
        return int.from_bytes(cipher.encrypt(counter), "little")

    for i in range(rounds):
        partner = (block(i, 2**64 - 1) - point) % size
        high = max(point, partner)
        if block(i, high // 128) >> high % 128 & 1:
            point = partner
    return point


@pytest.mark.parametrize("size", SIZES)
def test_points_go_where_the_page_says_alone_or_together(size):
    order = Permutation(size, 20, seed(size))
    table = [by_the_page(size, 20, seed(size), x) for x in range(size)]
    assert order.images(range(size)) == table
    for x in {0, size // 2, size - 1}:
        assert order.images([x]) == [table[x]]


@pytest.mark.parametrize("size", [300, 16384, 16385])
def test_points_go_the_same_way_with_a_table_of_all_bits_and_without(size, monkeypatch):
    some = [0, 1, 77, 299, size - 1]
    order = Permutation(size, 60, seed(3))
    ways = []
    for tabled in (0, 1 << 20):
        monkeypatch.setattr(permutation, "_TABLED", tabled)
        ways.append((order.images(some), order.points(some)))
    assert ways[0] == ways[1]


def test_the_published_ring_follows_from_the_page():
    published = json.loads((VECTORS / "secagg_round_v2_k_regular.json").read_text())
    n, k, sigma, grinding_bits = published["clients"], 4, 40, 0
    bits = max(sigma + grinding_bits, 30) + 24 + 4 * len(f"{n:b}")
    rounds = math.ceil(Fraction(25 * bits * n, 9 * (n - min(k, n - k))))
    assert rounds == published["permutation_rounds"]
    invitation = bytes.fromhex(published["first_invitation"])
    places = [by_the_page(n, rounds, invitation[2:34], u) for u in range(n)]
    assert places == published["place_of_client"]
    for u, near in enumerate(published["neighbours"]):
        at = {(places[u] + step) % n for step in (-2, -1, 1, 2)}
        assert near == [v for v in range(n) if places[v] in at]
    plan = bytes.fromhex(published["plan"])
    *rest, clip, bits, most, flags = struct.unpack("<BBIIIHHBBBdBIB", plan)
    assert rest == [2, 2, n, 1, 2, k, 2, 40, 30, 0]
    assert (clip, bits, most, flags) == (9.3125, 20, 50, 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_order_is_a_bijection_and_its_inverse_undoes_it(size):
    for number in range(3):
        order = Permutation(size, 25, seed(number))
        images = order.images(range(size))
        assert sorted(images) == list(range(size))
        assert order.points(images) == list(range(size))
        assert order.images(order.points([size - 1, 0])) == [size - 1, 0]


def test_large_orders_are_computed_point_by_point():
    order = Permutation(10**8, 400, seed(1))
    points = [0, 1, 12_345_678, 10**8 - 1]
    images = order.images(points)
    assert len(set(images)) == 4 and order.points(images) == points


def test_different_seeds_give_different_orders():
    orders = {tuple(Permutation(50, 100, seed(i)).images(range(50))) for i in range(40)}
    assert len(orders) == 40


def test_all_orders_of_four_come_up_equally_often():
    # Chi-square with 23 degrees of freedom: mean 23, deviation 6.8; five deviations.
    seeds, rounds = 4800, rounds_for(4, 4, closeness=8)
    counts = Counter(
        tuple(Permutation(4, rounds, seed(i)).images(range(4))) for i in range(seeds)
    )
    assert len(counts) == 24
    expected = seeds / 24
    statistic = sum((c - expected) ** 2 / expected for c in counts.values())
    assert statistic < 23 + 5 * 6.8


def distance_after(size, points, rounds):
    """Return the exact distance from uniform of the images of the first points.

    The chain over the images is computed with random offsets and random swaps.
    """
    states = list(permutations(range(size), points))
    number = {state: i for i, state in enumerate(states)}
    step = np.zeros((len(states), len(states)))
    for state, offset in product(states, range(size)):
        partners = [(offset - x) % size for x in state]
        pairs = sorted({max(x, y) for x, y in zip(state, partners, strict=True)})
        for swaps in product((False, True), repeat=len(pairs)):
            swapped = {pair for pair, swap in zip(pairs, swaps, strict=True) if swap}
            after = tuple(
                y if max(x, y) in swapped else x
                for x, y in zip(state, partners, strict=True)
            )
            step[number[state], number[after]] += 1 / (size * 2 ** len(pairs))
    after = np.linalg.matrix_power(step, rounds)[0]
    return float(np.abs(after - 1 / len(states)).sum() / 2)


@pytest.mark.parametrize(("size", "points"), [(5, 2), (6, 2), (6, 3), (7, 3), (8, 2)])
def test_the_rounds_bring_the_exact_distance_below_what_they_promise(size, points):
    for closeness in (1, 6, 12):
        rounds = rounds_for(size, points, closeness=closeness)
        assert distance_after(size, points, rounds) * size**2 <= 2.0**-closeness
    # The measure is not blind: a few rounds are not enough.
    assert distance_after(size, points, 3) * size**2 > 2.0**-1


def test_neighbours_or_all_others_decide_how_many_rounds_it_takes():
    assert rounds_for(100, 98, closeness=64) == rounds_for(100, 2, closeness=64)
    assert rounds_for(100, 50, closeness=64) > rounds_for(100, 20, closeness=64)


# --- the graph -----------------------------------------------------------------------


def plans():
    yield secagg.plan(6, 1, 2, graph="k-regular")
    yield secagg.plan(7, 1, 2, graph="k-regular")
    yield secagg.plan(100, 5, 5)
    yield secagg.plan(301, 15, 15)


@pytest.mark.parametrize("plan", plans(), ids=lambda plan: f"n={plan.clients}")
def test_the_graph_is_regular_symmetric_connected_and_without_loops(plan):
    graph = server_graph(plan, seed(3))
    near = {v: graph.neighbours(v) for v in range(plan.clients)}
    assert {len(around) for around in near.values()} == {plan.k}
    assert all(v not in near[v] for v in near)
    assert all(v in near[w] for v in near for w in near[v])
    reached, front = set(), {0}
    while front:
        reached |= front
        front = {w for v in front for w in near[v]} - reached
    assert len(reached) == plan.clients


@pytest.mark.parametrize("plan", plans(), ids=lambda plan: f"n={plan.clients}")
def test_a_client_finds_the_neighbours_that_the_server_tabulates(plan):
    alone, table = graph_of(plan, seed(4)), server_graph(plan, seed(4))
    assert isinstance(alone, Harary)
    for client in range(0, plan.clients, max(1, plan.clients // 7)):
        near = alone.neighbours(client)
        assert near == table.neighbours(client)
        places = set(alone.order.images(near))
        (own,) = alone.order.images([client])
        gaps = {(p - own) % plan.clients for p in places}
        half = plan.k // 2
        assert gaps == {g % plan.clients for g in range(-half, half + 1) if g}


def test_the_complete_graph_has_everybody_else():
    graph = graph_of(GRAPHS["complete"], seed(0))
    assert isinstance(graph, Complete)
    assert graph.neighbours(2) == {0, 1, 3}
    assert server_graph(GRAPHS["complete"], seed(0)) == graph


def test_the_graph_follows_from_session_and_roster():
    rounds = [
        Network(PLAN, UPDATES, session=b"one"),
        Network(PLAN, UPDATES, session=b"one"),
        *(Network(PLAN, UPDATES, session=bytes([i])) for i in range(10)),
    ]
    ways = [tuple(tuple(n.neighbours(name)) for name in UPDATES) for n in rounds]
    assert ways[0] == ways[1] and len(set(ways)) > 3


# --- what is sent along its edges only -----------------------------------------------


def stranger_to(network, name):
    """Return the index of the one client that is not a neighbour."""
    (other,) = set(UPDATES) - set(network.neighbours(name)) - {name}
    return sorted(UPDATES).index(other)


def test_keys_shares_and_masks_stay_in_the_neighbourhood():
    network = Network(PLAN, UPDATES)
    network.run()
    names = sorted(UPDATES)
    seen = Counter()
    for wire in network.wires:
        message = decode(wire.data, network.server._limits)
        client = wire.receiver if wire.sender == SERVER else wire.sender
        near = {names.index(other) for other in network.neighbours(client)}
        me = {names.index(client)}
        match message:
            case NeighbourKeys():
                assert {keys.index for keys in message.keys} == near | me
            case SealedShares() | ShareDelivery():
                assert {peer for peer, _ in message.boxes} == near
            case UnmaskRequest():
                assert message.survivors == set(range(PLAN.clients))
                assert {message.receiver} == me
            case UnmaskShares():
                assert {share.owner for share in message.shares} == near
            case KeyList():
                raise AssertionError("all keys were sent")
            case _:
                continue
        seen[type(message).__name__] += 1
    assert len(seen) == 5 and set(seen.values()) == {PLAN.clients}


def run_changing(kind, change, *, upwards):
    """Change every message of one kind from or to c0; return the network."""
    network = Network(PLAN, UPDATES)

    def tamper(wire):
        route = (wire.sender, wire.receiver)
        if wire.data[1] != kind.TAG or route != (
            ("c0", SERVER) if upwards else (SERVER, "c0")
        ):
            return wire.data
        return change(network, decode(wire.data, network.server._limits)).encode()

    network.run(tamper)
    return network


def with_stranger(network, message):
    keys = PublicKeys(stranger_to(network, "c0"), b"a" * 32, b"b" * 32)
    listed = sorted((*message.keys, keys), key=lambda one: one.index)
    return replace(message, keys=tuple(listed))


def for_a_stranger(network, message):
    (_, box), *others = message.boxes
    boxes = sorted([(stranger_to(network, "c0"), box), *others], key=lambda one: one[0])
    return replace(message, boxes=tuple(boxes))


def for_a_neighbour(network, message):
    other = sorted(UPDATES).index(network.neighbours("c0")[0])
    return replace(message, receiver=other)


def for_another(network, message):
    return replace(message, receiver=stranger_to(network, "c0"))


def too_few_in_all(network, message):
    return replace(message, survivors=frozenset({0, *list(message.survivors)[1:4]}))


def test_a_client_reveals_nothing_towards_a_sum_over_too_few_in_all():
    network = run_changing(UnmaskRequest, too_few_in_all, upwards=False)
    fault = network.clients["c0"].fault
    assert isinstance(fault, secagg.AbortError)
    assert (fault.need, fault.have) == (PLAN.threshold, 4)


def of_a_stranger(network, message):
    share = replace(message.shares[0], owner=stranger_to(network, "c0"))
    shares = sorted((share, *message.shares[1:]), key=lambda one: one.owner)
    return replace(message, shares=tuple(shares))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (NeighbourKeys, with_stranger),
        (ShareDelivery, for_a_stranger),
        (NeighbourKeys, for_a_neighbour),
        (ShareDelivery, for_another),
        (UnmaskRequest, for_a_neighbour),
    ],
)
def test_a_client_refuses_what_is_not_for_it_and_its_neighbours(kind, change):
    network = run_changing(kind, change, upwards=False)
    client = network.clients["c0"]
    assert client.aborted and type(client.fault) is RemoteProtocolError
    out = network.server.result()
    assert ("c0" in out.survivors) == (kind is UnmaskRequest)


@pytest.mark.parametrize(
    ("kind", "change"), [(SealedShares, for_a_stranger), (UnmaskShares, of_a_stranger)]
)
def test_the_server_refuses_shares_between_strangers(kind, change):
    network = run_changing(kind, change, upwards=True)
    (fault, *_) = network.server.faults
    assert fault.peer == "c0" and type(fault.error) is RemoteProtocolError
    assert len(network.server.result().survivors) >= PLAN.threshold


def with_one_neighbour_only(network, message):
    _, *others = (sorted(UPDATES).index(v) for v in network.neighbours("c0"))
    return replace(message, survivors=message.survivors - set(others))


def test_a_client_ends_its_part_when_too_few_neighbours_are_left(monkeypatch):
    # In a cohort as small as this one, too few are left in all before it comes to that.
    monkeypatch.setattr(Member, "_require_all", lambda self, have: None)
    network = run_changing(UnmaskRequest, with_one_neighbour_only, upwards=False)
    fault = network.clients["c0"].fault
    assert isinstance(fault, secagg.AbortError)
    assert (fault.need, fault.have) == (PLAN.t + 1, 2)
    assert "neighbourhood" in str(fault)


def test_clients_that_are_told_of_different_key_lists_never_add_up():
    def other_list(network, message):
        return replace(message, key_list=b"x" * 32)

    network = run_changing(NeighbourKeys, other_list, upwards=False)
    with pytest.raises(secagg.IntegrityError):
        network.server.result()


def test_only_neighbours_masks_of_a_dropped_client_are_recovered(monkeypatch):
    from secagg import masks

    removed = []
    sign, remove_all = masks.sign, masks.remove_all

    def recorded_sign(survivor, dropped):
        removed.append((survivor, dropped))
        return sign(survivor, dropped)

    def recorded(total, held, **kept):
        with monkeypatch.context() as patch:
            patch.setattr(masks, "sign", recorded_sign)
            remove_all(total, list(held), **kept)

    monkeypatch.setattr(masks, "remove_all", recorded)
    network = Network(PLAN, UPDATES)
    server = network.run(
        lambda wire: (
            None
            if wire.sender == "c2" and wire.data[1] == MaskedInput.TAG
            else wire.data
        )
    )
    assert server.result().survivors == set(UPDATES) - {"c2"}
    names = sorted(UPDATES)
    assert {names[survivor] for survivor, _ in removed} == set(network.neighbours("c2"))
    assert {dropped for _, dropped in removed} == {2}


# --- as uniform as the plan needs ----------------------------------------------------


@pytest.mark.parametrize("closeness", [1, 64, 200])
@pytest.mark.parametrize(
    ("size", "places"), [(6, 4), (100, 20), (3000, 110), (4096, 2)]
)
def test_the_rounds_keep_the_published_bound_on_the_distance(size, places, closeness):
    # Hoang, Morris and Rogaway, CRYPTO 2012, times size^2 events, in logarithms.
    mapped = min(places, size - places)
    rounds = rounds_for(size, places, closeness=closeness)
    off = 2 + 1.5 * math.log2(size) - math.log2(rounds + 2)
    off += (rounds / 2 + 1) * math.log2((size + mapped) / (2 * size))
    assert off + 2 * math.log2(size) <= -closeness


@pytest.mark.parametrize(
    ("exponents", "rarest"),
    [
        ({"sigma": 40, "eta": 30}, 40),
        ({"sigma": 20, "eta": 33}, 33),
        ({"sigma": 40, "eta": 30, "grinding_bits": 12}, 52),
        ({"sigma": 40, "eta": 45, "grinding_bits": 1}, 45),
    ],
)
def test_the_order_is_as_uniform_as_the_rarest_event_needs(exponents, rarest):
    # docs/protocol.md: the order adds less than 2^-24 of any budget.
    plan = secagg.plan(600, 30, 30, graph="k-regular", **exponents)
    order = graph_of(plan, seed(1)).order
    assert order.rounds == rounds_for(600, plan.k, closeness=rarest + 24)
