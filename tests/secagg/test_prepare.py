"""Masks prepared while a client trains: the same bytes, one use, one context."""

import re
import threading
import tracemalloc

import numpy as np
import pytest

import secagg
from secagg import masks
from secagg.client import Client
from secagg.encoder import Encoder
from secagg.errors import LocalProtocolError, ParameterError
from secagg.masks import Prepared
from secagg.ring import Ring
from secagg.server import Server
from secagg.states import State
from tests.secagg.harness import CONTEXT, GRAPHS, make_updates, open_policy

ONE = "c1"
OTHER_CONTEXT = secagg.context(b"another model")
PLANS = GRAPHS | {"chacha20": secagg.plan(4, 1, 1, graph="complete", cipher="chacha20")}
UPDATES = make_updates(6, 9)


class Crowd:
    """A server and clients up to the share delivery; nobody has offered yet."""

    def __init__(self, plan, length=9):
        names = sorted(UPDATES)[: plan.clients]
        self.server = Server(plan, names, session=b"prepared", length=length)
        self.clients = {
            name: Client(
                plan,
                open_policy(plan),
                me=name,
                rng=secagg.simulation_rng(5, name),
            )
            for name in names
        }
        self.pass_on(self.server.start())

    def pass_on(self, queue):
        queue = list(queue)
        while queue:
            name, data = queue.pop(0)
            for reply in self.clients[name].receive(data):
                queue += self.server.receive(name, reply)

    def finish(self, uploads):
        for name, sent in uploads.items():
            for data in sent:
                self.pass_on(self.server.receive(name, data))
        return self.server.result()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_prepared_masks_give_the_same_bytes_and_the_same_sum(plan):
    uploads, means = [], []
    for prepared in (False, True):
        crowd = Crowd(plan)
        for client in crowd.clients.values():
            if prepared:
                assert client.prepare(CONTEXT) is None
                assert client.state is State.PREPARED
        uploads.append(
            {
                name: client.offer(UPDATES[name], context=CONTEXT)
                for name, client in crowd.clients.items()
            }
        )
        means.append(crowd.finish(uploads[-1]).mean)
    assert uploads[0] == uploads[1] and all(uploads[0].values())
    assert np.array_equal(*means)


def test_the_offer_must_have_the_prepared_context():
    client = Crowd(GRAPHS["complete"]).clients[ONE]
    client.prepare(CONTEXT)
    with pytest.raises(ParameterError, match="not the one given to prepare"):
        client.offer(UPDATES[ONE], context=OTHER_CONTEXT)
    assert client.state is State.PREPARED
    assert client.offer(UPDATES[ONE], context=CONTEXT)


@pytest.mark.parametrize("context", [b"short", "c" * 32, bytearray(32), None])
def test_a_context_that_is_none_is_refused_and_nothing_changes(context):
    client = Crowd(GRAPHS["complete"]).clients[ONE]
    with pytest.raises(ParameterError, match=r"secagg\.context"):
        client.prepare(context)
    assert client.state is State.READY
    client.prepare(CONTEXT)


def too_early(plan):
    return Client(plan, open_policy(plan), me=ONE)


def with_a_vector(plan):
    client = too_early(plan)
    client.offer(UPDATES[ONE], context=CONTEXT)
    return client


def prepared_before(plan):
    client = Crowd(plan).clients[ONE]
    client.prepare(CONTEXT)
    return client


def uploaded(plan):
    client = prepared_before(plan)
    client.offer(UPDATES[ONE], context=CONTEXT)
    return client


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (too_early, "expected offer"),
        (with_a_vector, "vector offered"),
        (prepared_before, "masks prepared"),
        (uploaded, "masked input sent"),
    ],
)
def test_a_call_out_of_order_says_what_is_missing_and_aborts(start, found):
    client = start(GRAPHS["complete"])
    with pytest.raises(LocalProtocolError, match="after the share delivery") as caught:
        client.prepare(CONTEXT)
    assert found in str(caught.value)
    assert client.aborted


def test_prepared_masks_serve_one_vector_and_are_overwritten():
    words = Ring(26).zeros(40)
    masks.add_masks(words, me=0, own=secagg.keys.Secret(b"k" * 32), pairs={})
    prepared, total = Prepared(CONTEXT, words), Ring(26).zeros(40)
    expected = words.copy()
    prepared.spend(total)
    assert np.array_equal(total, expected) and expected.any()
    assert not words.any()
    with pytest.raises(LocalProtocolError, match="second time"):
        prepared.spend(total)
    assert np.array_equal(total, expected)
    # Where it lies in memory may hold any digits by chance.
    shown = re.sub(r"0x[0-9a-f]+", "", repr(prepared))
    assert "26" not in shown and str(expected[0]) not in shown


@pytest.mark.parametrize("end", ["upload", "abort"])
def test_nothing_of_the_masks_outlives_upload_or_abort(end):
    crowd = Crowd(GRAPHS["complete"])
    client = crowd.clients[ONE]
    client.prepare(CONTEXT)
    member = client._member
    held = member._prepared._masks
    assert held.any()
    with pytest.raises(LocalProtocolError):  # prepare has used the keys up
        member._seed.expose()
    if end == "upload":
        client.offer(UPDATES[ONE], context=CONTEXT)
    else:
        client.receive(b"no message")
        assert client.aborted
    assert not held.any() and member._prepared._masks is None


def test_preparing_takes_one_word_a_parameter_and_spending_none():
    plan = secagg.plan(
        4, 1, 1, graph="complete", encoder=Encoder(value_bits=16, weight_max=256)
    )
    length = 1_000_000
    model = 4 * length  # float32; the ring's words have 32 bits
    crowd = Crowd(plan, length)
    client = crowd.clients[ONE]
    tracemalloc.start()
    client.prepare(CONTEXT)
    held, peak = tracemalloc.get_traced_memory()
    assert 0.99 * model < held <= peak < 1.2 * model
    total = client._member.layout.ring.zeros(length + 4)
    tracemalloc.reset_peak()
    client._member._prepared.spend(total)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.1 * model and held < 1.1 * model


def in_thread(call, *args, **kwargs):
    """Start a call; return its thread and where its answer or error will be."""
    answers = []

    def run():
        try:
            answers.append(call(*args, **kwargs))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


@pytest.mark.parametrize("first", ["prepare", "offer"])
def test_calls_from_two_threads_never_use_the_masks_twice(monkeypatch, first):
    client = Crowd(secagg.plan(4, 1, 1)).clients[ONE]
    reached, go_on = threading.Event(), threading.Event()
    add_streams = masks.add_streams

    def slow(*args, **kwargs):
        if not reached.is_set():  # the first call alone
            reached.set()
            assert go_on.wait(10)
        add_streams(*args, **kwargs)

    monkeypatch.setattr(masks, "add_streams", slow)
    calls = {
        "prepare": lambda: client.prepare(CONTEXT),
        "offer": lambda: client.offer(UPDATES[ONE], context=CONTEXT),
    }
    one, answered_one = in_thread(calls[first])
    assert reached.wait(10)
    other, answered_other = in_thread(calls["offer"])
    other.join(0.1)
    assert not answered_other  # it waits for the first call
    go_on.set()
    one.join(10)
    other.join(10)
    with pytest.raises(LocalProtocolError):
        client.offer(2 * UPDATES[ONE], context=CONTEXT)
    answers = answered_one + answered_other
    assert len(answers) == 2
    assert sum(isinstance(answer, tuple) for answer in answers) == 1


def test_an_offer_that_finds_no_memory_keeps_no_secret(monkeypatch):
    client = Crowd(secagg.plan(4, 1, 1)).clients[ONE]
    member = client._member

    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(masks, "add_streams", full)
    with pytest.raises(MemoryError):
        client.offer(UPDATES[ONE], context=CONTEXT)
    assert client.aborted
    assert client._member is None
    assert not len(member._seed)
