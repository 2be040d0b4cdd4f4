"""The drill catches what it plants, and does not accuse the sound mechanism."""

from __future__ import annotations

import pytest

from fl.drill import CANARIES, CLAIMED, CONFIDENCE, DELTA, drill
from fl.guarantees import drills
from tests.fl import tiny


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [5, 650])
def test_the_missing_noise_is_caught_and_the_noise_is_not_accused(
    seed: int, length: int
) -> None:
    settings = tiny.config("attacks.canaries=100", f"seed={seed}")
    sound, faulty = drill(settings, length)
    assert (sound.noise, faulty.noise) == (True, False)
    assert sound.bound.value <= CLAIMED < faulty.bound.value
    assert faulty.bound.value == faulty.bound.ceiling
    for one in (sound, faulty):
        assert one.bound.canaries == CANARIES
        assert one.bound.confidence == pytest.approx(CONFIDENCE)
        assert one.delta == DELTA


def test_the_noise_that_is_added_blurs_the_guesses() -> None:
    sound, faulty = drill(tiny.config("attacks.canaries=200"), 300)
    assert faulty.bound.right == faulty.bound.guesses
    assert sound.bound.right < sound.bound.guesses


def test_one_seed_is_one_drill() -> None:
    settings = tiny.config("attacks.canaries=60")
    assert drill(settings, 100) == drill(settings, 100)


def test_the_drill_tests_the_instrument_and_not_the_run() -> None:
    # Few canaries, a large delta and dropouts would hide even missing noise.
    small = tiny.config("attacks.canaries=20", "federation.drop=0")
    large = tiny.config("federation.clients=40", "privacy.delta=0.001")
    lossy = tiny.config("federation.dropout=0.15", "federation.drop=2")
    assert drill(small, 100) == drill(large, 100) == drill(lossy, 100)


def test_the_rows_say_what_was_left_out_and_what_was_found() -> None:
    drilled = drill(tiny.config("attacks.canaries=100"), 100)
    added, left_out = drills(drilled)
    assert (added.noise, left_out.noise) == ("added", "left out")
    assert (added.violated, left_out.violated) == (False, True)
    for row, one in zip((added, left_out), drilled, strict=True):
        assert row.claimed_epsilon == CLAIMED
        assert row.n_canaries == CANARIES
        assert (row.epsilon_lower, row.ceiling) == (one.bound.value, one.bound.ceiling)
        assert f"{one.bound.right} of {one.bound.guesses} guesses" in row.detail
    assert (left_out.epsilon_lower or 0) > CLAIMED >= (added.epsilon_lower or 0)
