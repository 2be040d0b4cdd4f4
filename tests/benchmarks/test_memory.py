"""What long vectors take: no more than is said, and what is kept is seen."""

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.memory import ENCODER, KINDS
from secagg import sums

LENGTH = 1 << 21
BLOCKS = 0.35  # models: what is held of a vector this short beside whole vectors


@pytest.mark.parametrize("name", ["", "_rotated"])
def test_peaks_of_long_vectors_are_the_few_vectors_that_are_documented(name):
    # Client: words, which become the message.  Server: sum and message, then the mean.
    peaks = memory.play(KINDS[name], LENGTH)
    assert 1 < peaks.client < 1 + BLOCKS
    assert 1 + 18 / 32 < peaks.server < 1 + 18 / 32 + BLOCKS


def test_a_wide_ring_takes_two_models_or_one_and_a_half_beside_an_upload(monkeypatch):
    monkeypatch.setattr(sums, "_LEAST", LENGTH)
    peaks = memory.play(KINDS["_64_bit_words"], LENGTH)
    assert 2 < peaks.client < 2 + BLOCKS
    assert 1.5 + 42 / 32 < peaks.server < 1.5 + 42 / 32 + BLOCKS


def test_a_peak_is_seen_and_what_is_kept_of_it():
    def copied(size):
        first = np.ones(size)
        return first.copy()

    memory.tracemalloc.start()
    try:
        made, peak, kept = memory._watched(copied, 10**5)
    finally:
        memory.tracemalloc.stop()
    assert peak == pytest.approx(2 * made.nbytes, rel=0.01)
    assert kept == pytest.approx(made.nbytes, rel=0.01)


def test_a_mean_that_is_off_stops_the_benchmark(monkeypatch):
    real = memory._check
    monkeypatch.setattr(memory, "_check", lambda out, exact: real(out, exact * 1.5))
    with pytest.raises(RuntimeError, match="off by"):
        memory.play(ENCODER, 1000)
