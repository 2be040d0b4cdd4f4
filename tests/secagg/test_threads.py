"""Work shared among threads: whole, to the same bits, and wrong settings refused."""

import gc
import signal
import threading
import time
import weakref
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import checksums, encode, streams, threads
from secagg.encoder import Encoder
from secagg.errors import ParameterError
from secagg.rounding import BLOCK
from secagg.threads import THREADS_VARIABLE, default_threads, run

WRONG = ("0", "two", "-1", "", "\N{ARABIC-INDIC DIGIT TWO}")
SHARING = (checksums, streams)


def by_one(job, count, **_):
    job(iter([range(count)]))


def by_three(job, count, **_):
    """Share blocks out as three threads might take them, the last ones first."""
    cuts = sorted({0, count // 3, count // 2, count * 3 // 4, count})
    ranges = [range(*both) for both in pairwise(cuts)]
    for mine in (ranges[3:] + ranges[:1], ranges[2:3], ranges[1:2]):
        job(iter(mine))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("asked", [None, 1, 2, 5, 1000])
def test_every_block_is_taken_once(count, asked, monkeypatch):
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    taken, calls = [], []

    def job(ranges):
        calls.append(None)
        taken.extend(chain.from_iterable(ranges))

    run(job, count, worth=9, threads=asked)
    assert sorted(taken) == list(range(count))
    assert 1 <= len(calls) <= max(1, min(asked or 3, count))


@pytest.mark.parametrize("turns", ["fbfbfb", "bbfbbf", "ffffff", "bbbbbb"])
def test_front_and_back_meet(turns):
    blocks = threads._Blocks(list, 20)
    ways = {"f": blocks.from_front(), "b": blocks.from_back()}
    taken = [i for turn in turns for i in next(ways[turn], ())]
    taken += chain(*ways["f"], *ways["b"])
    assert sorted(taken) == list(range(20))
    assert not list(chain(*blocks.from_front(), *blocks.from_back()))


def test_helpers_are_no_more_than_the_work_is_worth(monkeypatch):
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    for worth, expected in ((0, 1), (1, 1), (2, 2), (9, 3)):
        meeting = threading.Barrier(expected, timeout=60)
        run(lambda ranges, here=meeting: here.wait(), 50, worth=worth)
    for wrong in (0, -1, True, 1.0):
        with pytest.raises(ParameterError, match="threads"):
            run(list, 5, worth=9, threads=wrong)


@pytest.mark.parametrize("failing", ["caller", "helper", "both"])
def test_an_error_ends_the_work_of_all(failing):
    meeting = threading.Barrier(2, timeout=60)
    running = []

    def job(ranges):
        running.append(None)
        meeting.wait()
        who = "caller" if threading.current_thread() is caller else "helper"
        try:
            for _ in ranges:
                if failing in (who, "both"):
                    raise ValueError(who)
                threading.Event().wait(0.01)
        finally:
            running.pop()

    caller = threading.current_thread()
    with pytest.raises(ValueError, match=r"caller|helper"):
        run(job, 1 << 20, worth=1, threads=2)  # hours, if nobody stopped
    assert not running
    run(lambda ranges: list(ranges), 9, worth=1, threads=2)  # the next is not hurt


def test_an_interrupt_is_raised_once_no_helper_works_any_more():
    caller, both = threading.current_thread(), threading.Barrier(2, timeout=60)
    finished = []

    def job(ranges):
        both.wait()
        if threading.current_thread() is not caller:
            time.sleep(0.02)  # the caller waits by now
            signal.pthread_kill(caller.ident, signal.SIGINT)
            time.sleep(0.05)
            finished.append(None)

    # A process that was started in the background ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(job, 9, worth=2, threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert finished


def test_a_helpers_error_keeps_nothing_alive():
    class Vector:
        """Stands for what a job works on."""

    def go():
        vector, both = Vector(), threading.Barrier(3, timeout=60)

        def job(ranges, vector=vector):
            both.wait()
            if threading.current_thread() is not caller:
                raise ValueError

        with pytest.raises(ValueError):
            run(job, 9, worth=3, threads=3)
        return weakref.ref(vector)

    caller = threading.current_thread()
    gc.disable()
    try:
        held, until = go(), time.monotonic() + 60
        while held() and time.monotonic() < until:
            time.sleep(0.001)  # until the helpers have left their last call
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("had", [0, 1])
def test_the_caller_does_all_if_no_thread_can_be_had(had, monkeypatch):
    pool, caller = threads._pool(), threading.current_thread()
    submit, asked, taken = pool.submit, [], []

    def refuse(*call):
        asked.append(None)
        if len(asked) > had:
            raise RuntimeError("can't start new thread")
        return submit(*call)

    def job(ranges):
        for some in ranges:
            taken.extend(some)
            if threading.current_thread() is not caller:
                time.sleep(0.01)
                taken.append("done")

    monkeypatch.setattr(pool, "submit", refuse)
    run(job, 50, worth=5, threads=5)
    after = list(taken)
    assert sorted(i for i in after if i != "done") == list(range(50))
    time.sleep(0.02)
    assert taken == after


def test_a_wrong_number_of_threads_is_refused_at_once(monkeypatch):
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    assert default_threads() in (1, 2)
    plan = secagg.plan(4, 0, 1)
    where = encode.layout(plan.encoder, clients=4, length=3)
    for wrong in WRONG:
        monkeypatch.setenv(THREADS_VARIABLE, wrong)
        with pytest.raises(ParameterError, match="BLINDSUM_THREADS"):
            secagg.Client(plan, secagg.Policy(), me="a")
        with pytest.raises(ParameterError, match="BLINDSUM_THREADS"):
            secagg.Server(plan, ["a", "b", "c", "d"], session=b"s", length=3)
        with pytest.raises(ParameterError, match="BLINDSUM_THREADS"):
            encode.seal(where, where.ring.zeros(where.words), bytes(32), bytes(32))


@pytest.mark.parametrize("rotate", [False, True])
def test_an_upload_has_the_same_bytes_however_its_blocks_are_shared(
    rotate, monkeypatch
):
    length = 9 * BLOCK + 1001
    vector = np.random.default_rng(3).standard_normal(length).astype(np.float32)
    encoder = Encoder(value_bits=16, weight_max=9, clip_norm_l2=800.0, rotate=rotate)
    where = encode.layout(encoder, clients=100, length=length)
    sent = set()
    for way in (by_one, by_three):
        for module in SHARING:
            monkeypatch.setattr(module, "run", way)
        words = encode.encode(
            encoder, where, vector, 7, context=bytes(32), key=bytes(range(32))
        )
        encode.seal(where, words, bytes(32), bytes(32))
        out = encode.decode_sum(encoder, where, words, bytes(32), bytes(32), clients=1)
        assert np.abs(out.mean - vector).max() <= out.max_error
        streams.add_streams(words, [(bytes(32), 1), (bytes([1]) * 32, -1)])
        sent.add(where.ring.pack(words))
    assert len(sent) == 1


@pytest.mark.parametrize("cipher", ["aes-256-ctr", "chacha20"])
def test_streams_are_found_by_place(cipher, monkeypatch):
    found = set()
    for way in (by_one, by_three):
        monkeypatch.setattr(streams, "run", way)
        total = np.zeros(7 << 16, dtype="<u4")
        streams.add_streams(total, [(bytes(32), 1)], cipher=cipher)
        found.add(total.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e200])
def test_no_block_misses_a_value_that_is_refused(rotate, wrong):
    encoder, length = Encoder(rotate=rotate), 3 * BLOCK
    where = encode.layout(encoder, clients=2, length=length)
    for place in (0, BLOCK, length - 1):
        vector = np.zeros(length)
        vector[place] = wrong
        with pytest.raises(ParameterError, match="vector"):
            encode.encode(encoder, where, vector, 1, context=b"", key=bytes(32))


@pytest.mark.parametrize("rotate", [False, True])
def test_the_norm_is_that_of_all_blocks(rotate):
    encoder, length = Encoder(clip_norm_l2=1.0, rotate=rotate), 2 * BLOCK
    where = encode.layout(encoder, clients=2, length=length)
    for norm, refused in ((0.99, False), (1.01, True)):
        vector = np.full(length, norm / length**0.5)  # either half alone is allowed
        given = (encoder, where, vector, 1)
        if refused:
            with pytest.raises(ParameterError, match="L2 norm"):
                encode.encode(*given, context=b"", key=bytes(32))
        else:
            encode.encode(*given, context=b"", key=bytes(32))


def test_no_errstate_serves_two_threads():
    # As a decorator it is one object, which numpy 1.26 lets keep the state of whoever
    # came last: threads that overlap would leave with each other's.
    for source in Path(secagg.__file__).parent.rglob("*.py"):
        assert "@np.errstate" not in source.read_text(encoding="utf-8"), source.name
