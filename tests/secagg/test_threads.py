"""Work shared among threads: whole, to the same bits, and wrong settings refused."""

import threading

import numpy as np
import pytest

import secagg
from secagg import encode, packing, rotation
from secagg.encoder import Encoder
from secagg.errors import ParameterError
from secagg.ring import Ring
from secagg.rounding import BLOCK
from secagg.threads import THREADS_VARIABLE, default_threads, run, shares

WRONG = ("0", "two", "-1", "", "\N{ARABIC-INDIC DIGIT TWO}")


def test_shares_are_all_of_the_work_and_no_more_threads_than_it_is_worth(monkeypatch):
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    for count in (0, 1, 2, 7, 100):
        for threads in (None, 1, 2, 5):
            found = shares(count, worth=9, threads=threads)
            assert [i for one in found for i in one] == list(range(count))
            assert len(found) == max(1, min(threads or 3, count))
            assert max(map(len, found)) - min(map(len, found)) <= 1
    assert [len(shares(50, worth=worth)) for worth in (0, 1, 2, 9)] == [1, 1, 2, 3]
    for threads in (0, -1, True, 1.0):
        with pytest.raises(ParameterError, match="threads"):
            shares(5, worth=9, threads=threads)


def test_ranges_are_worked_on_at_once():
    meeting = threading.Barrier(3, timeout=60)
    run(lambda one: meeting.wait(), shares(3, worth=1, threads=3))


def test_no_thread_outlives_an_error():
    ended = []

    def job(one):
        ended.append(one)
        if 1 not in one:
            raise ValueError(f"in {one}")

    with pytest.raises(ValueError, match=r"range\(0, 1\)"):
        run(job, shares(4, worth=1, threads=4))
    assert len(ended) == 4
    with pytest.raises(ValueError, match=r"range\(2, 3\)"):
        run(job, [range(1, 2), range(2, 3)])


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
            where.ring.pack(where.ring.zeros(where.words))


@pytest.mark.parametrize("rotate", [False, True])
def test_encoding_gives_the_same_bytes_for_any_number_of_threads(rotate, monkeypatch):
    for module in (encode, packing, rotation):
        monkeypatch.setattr(module, "_VALUES_PER_THREAD", 1)
    length = 4 * BLOCK + 1001
    vector = np.random.default_rng(3).standard_normal(length).astype(np.float32)
    encoder = Encoder(value_bits=16, weight_max=9, clip_norm_l2=500.0, rotate=rotate)
    where = encode.layout(encoder, clients=100, length=length)
    sent = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv(THREADS_VARIABLE, threads)
        words = encode.encode(
            encoder, where, vector, 7, context=bytes(32), key=bytes(range(32))
        )
        encode.seal(where, words, bytes(32), bytes(32))
        sent.add(where.ring.pack(words))
        out = encode.decode_sum(encoder, where, words, bytes(32), bytes(32), clients=1)
        assert np.abs(out.mean - vector).max() <= out.max_error
    assert len(sent) == 1


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e200])
def test_no_thread_misses_a_value_that_is_refused(rotate, wrong, monkeypatch):
    for module in (encode, rotation):
        monkeypatch.setattr(module, "_VALUES_PER_THREAD", 1)
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    encoder = Encoder(rotate=rotate)
    length = 3 * BLOCK
    where = encode.layout(encoder, clients=2, length=length)
    for place in (0, BLOCK, length - 1):
        vector = np.zeros(length)
        vector[place] = wrong
        with pytest.raises(ParameterError, match="vector"):
            encode.encode(encoder, where, vector, 1, context=b"", key=bytes(32))


def test_the_norm_is_that_of_all_threads_values(monkeypatch):
    monkeypatch.setattr(encode, "_VALUES_PER_THREAD", 1)
    monkeypatch.setenv(THREADS_VARIABLE, "2")
    encoder, length = Encoder(clip_norm_l2=1.0), 2 * BLOCK
    where = encode.layout(encoder, clients=2, length=length)
    for norm, refused in ((0.99, False), (1.01, True)):
        vector = np.full(length, norm / length**0.5)  # either half alone is allowed
        given = (encoder, where, vector, 1)
        if refused:
            with pytest.raises(ParameterError, match="L2 norm"):
                encode.encode(*given, context=b"", key=bytes(32))
        else:
            encode.encode(*given, context=b"", key=bytes(32))


def test_whole_blocks_are_packed_by_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(packing, "_VALUES_PER_THREAD", 1)
    for bits in (12, 26, 33):
        words = np.arange((1 << 17) + 333, dtype=np.uint64) * 0x9E3779B97F4A7C15
        packed = set()
        for threads in ("1", "3"):
            monkeypatch.setenv(THREADS_VARIABLE, threads)
            packed.add(Ring(bits).pack(words.astype(Ring(bits).dtype)))
        assert len(packed) == 1
