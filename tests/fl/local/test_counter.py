"""The counter-based words: published vectors, independence, an oracle in integers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fl.local.batches import draw, draw_coins
from fl.local.counter import philox, uniform, words
from tests.fl.local import oracle

# Random123's known answers for philox4x32 with 10 rounds: counter, key, words.
PUBLISHED = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "wanted"), PUBLISHED)
def test_the_published_words(
    counter: tuple[int, ...], key: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    low, high = philox(
        tuple(np.array([one], dtype=np.uint64) for one in counter),  # type: ignore[arg-type]
        tuple(np.array([one], dtype=np.uint64) for one in key),  # type: ignore[arg-type]
    )
    assert int(low[0]) == wanted[1] << 32 | wanted[0]
    assert int(high[0]) == wanted[3] << 32 | wanted[2]
    assert oracle.philox(counter, key) == list(wanted)


def test_a_word_depends_on_its_key_purpose_row_and_column_alone() -> None:
    keys = np.array([7, 2**63 + 5, 2**40], dtype=np.uint64)
    table = words(keys, 3, 4, 7)
    assert table.shape == (3, 4, 7)
    for place, key in enumerate(keys):
        for row in range(4):
            for column in range(7):
                assert table[place, row, column] == oracle.word(
                    int(key), 3, row, column
                )
    assert np.array_equal(words(keys[1:2], 3, 2, 3), table[1:2, :2, :3])
    assert len(np.unique(np.concatenate([table, words(keys, 4, 4, 7)]))) == 2 * 84


def test_coins_come_up_at_their_rate_and_do_not_cling_together() -> None:
    keys = np.arange(1, 41, dtype=np.uint64)
    drawn = uniform(words(keys, 1, 50, 50))
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-4
    up = (drawn < 0.3).astype(float)
    for axis in range(3):
        ones, others = (
            up.take(range(size - 1) if first else range(1, size), axis=axis).ravel()
            for first, size in ((True, up.shape[axis]), (False, up.shape[axis]))
        )
        assert abs(np.corrcoef(ones, others)[0, 1]) < 5 / np.sqrt(len(ones))
    coins = draw_coins([50] * 40, list(range(1, 41)), steps=50, rate=0.3)
    assert np.array_equal(np.stack(coins), up.astype(bool))


def test_no_coin_comes_up_at_rate_zero_and_every_coin_at_one() -> None:
    assert not draw_coins([9, 0], [1, 2], steps=3, rate=0.0)[0].any()
    one, none = draw_coins([9, 0], [1, 2], steps=3, rate=1.0)
    assert one.all()
    assert none.shape == (3, 0)


@pytest.mark.parametrize("sizes", [[7], [9, 9, 9], [13, 9, 4, 1], [5, 3, 0, 0], [0]])
@pytest.mark.parametrize("batch", [1, 4, 20])
def test_each_client_steps_through_its_own_orders(sizes: list[int], batch: int) -> None:
    keys = [2**50 * (i + 1) + i for i in range(len(sizes))]
    found = draw(sizes, keys, epochs=3, batch_size=batch)
    first = 0
    for client, (size, key) in enumerate(zip(sizes, keys, strict=True)):
        wanted = list(oracle.batches(key, size, 3, batch))
        for step in range(found.steps):
            count = found.counts[client, step]
            own = (found.rows[client, step, :count] - first).tolist()
            assert own == (wanted[step] if step < len(wanted) else [])
        assert found.steps >= len(wanted)
        first += size


@pytest.mark.parametrize("sizes", [[13, 9, 4, 1], [6, 6], [5, 0]])
def test_a_step_weighs_the_own_records_of_those_who_move(sizes: list[int]) -> None:
    found = draw(sizes, list(range(len(sizes))), epochs=2, batch_size=4)
    edges = np.cumsum([0, *sizes])
    for step in range(found.steps):
        batch = found.at(step)
        moving, width = batch.shape
        assert moving == np.count_nonzero(found.counts[:, step])
        rows = batch.rows.view(moving, width).numpy()
        for client in range(moving):
            assert (rows[client] >= edges[client]).all()
            assert (rows[client] < edges[client + 1]).all()
            count = found.counts[client, step]
            weights = batch.weights[client].numpy()
            assert np.allclose(weights[:count], 1 / count)
            assert not weights[count:].any()
