"""Galleries show the first victims, none left out, and the truth as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks import Certificate, LinearInversion, quality
from fl.data import Dataset, load
from fl.inversion import Assault, assault
from fl.models import build, to_vector
from fl.outcomes import Outcome
from fl.pictures import SHOWN, galleries
from fl.shots import from_worst_case
from tests.fl import tiny

TRIALS = SHOWN + 2


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    settings = tiny.config("model.hidden=[32]")
    raw = load(settings.data, 0)
    assert isinstance(raw, Dataset)
    made = []
    for name in ("none", "secagg"):
        fed = tiny.federation(settings, name, raw=raw.take(np.arange(150)))
        start = to_vector(build(settings.model, fed.input_shape, fed.classes, 1))
        for trial in range(TRIALS):
            for shot in from_worst_case(
                [("trained", start)],
                fed,
                tiny.protection(name, settings),
                settings,
                batch=1,
                trial=trial,
                seed=0,
            ):
                job = Assault(shot=shot, attacks=(LinearInversion(),))
                made += [Outcome(shot=shot, attempt=one) for one in assault(job)]
    return made


def _linear(outcomes: list[Outcome], protection: str, view: str) -> list[Outcome]:
    return [
        o
        for o in outcomes
        if o.shot.protection == protection
        and o.shot.view.startswith(view)
        and o.attempt.attack == LinearInversion.name
    ]


def test_the_first_victims_are_shown_as_they_are(outcomes: list[Outcome]) -> None:
    plain = next(g for g in galleries(outcomes) if g.title.startswith("none"))
    wanted = _linear(outcomes, "none", "one upload")[:SHOWN]
    assert len(plain.originals) == SHOWN
    for outcome, original, label in zip(
        wanted, plain.originals, plain.labels, strict=True
    ):
        # Pixels are trained on in [-1, 1] and shown in [0, 1].
        shown = (outcome.shot.x[0, 0].numpy() + 1) / 2
        np.testing.assert_allclose(original, shown, atol=1e-7)
        assert label == str(int(outcome.shot.y[0]))
    assert all(value is not None and value > 60 for value in plain.psnr)
    assert f"{SHOWN} certified" in plain.caption


def test_the_null_is_another_real_record(outcomes: list[Outcome]) -> None:
    plain = next(g for g in galleries(outcomes) if g.title.startswith("none"))
    for original, null in zip(plain.originals, plain.null, strict=True):
        assert np.abs(np.asarray(original) - np.asarray(null)).max() > 0.1


def test_under_masks_the_picture_is_what_the_attack_made_of_noise(
    outcomes: list[Outcome],
) -> None:
    masked = next(g for g in galleries(outcomes) if "one masked upload" in g.title)
    assert len(masked.originals) == SHOWN
    assert "0 certified" in masked.caption
    assert all(value is not None and value < 20 for value in masked.psnr)


def test_a_sum_is_seen_by_the_server_alone(outcomes: list[Outcome]) -> None:
    sums = [g for g in galleries(outcomes) if "sum of" in g.title]
    assert [gallery.title for gallery in sums] == [
        "secagg: sum of the cohort, batch 1, trained model, linear"
    ]
    assert "best recovered" in sums[0].caption


def test_a_refusal_is_shown_grey_and_not_left_out(outcomes: list[Outcome]) -> None:
    mine = _linear(outcomes, "none", "one upload")
    result = mine[0].attempt.reconstruction
    assert result is not None
    gave_up = replace(result, inputs=result.inputs[:0], certificate=Certificate.REFUSED)
    attempt = replace(mine[0].attempt, reconstruction=gave_up, refused="gave up.")
    (made,) = galleries([replace(mine[0], attempt=attempt), *mine[1:]])
    assert len(made.originals) == SHOWN
    assert made.psnr[0] is None
    assert set(np.asarray(made.reconstructions[0]).ravel().tolist()) == {0.5}
    assert quality.PSNR_CAP_DB >= (made.psnr[1] or 0) > 60
