"""The scale benchmark: its rounds are exact, and it would tell if they were not."""

import dataclasses

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.played import play
from benchmarks.scale import Case
from secagg.invite import Step

CASE = Case(60, 50, 0.3)


def test_a_round_with_dropouts_at_every_step_is_exact():
    found = scale.run(CASE)
    assert found["exact"] is True
    assert found["survivors"] == 60 - sum(
        found[f"gone_{step}"] for step in Step if step is not Step.UNMASK
    )
    assert min(found[f"gone_{step}"] for step in Step) > 0
    assert sum(found[f"gone_{step}"] for step in Step) == 18
    assert min(found["bytes_up"], found["bytes_down"], found["server_cpu_s"]) > 0


def test_one_step_too_many_in_one_coordinate_is_noticed(monkeypatch):
    def spoilt(*args, **more):
        played = play(*args, **more)
        mean = played.mean.astype(np.float64)
        mean[7] += 1 / (scale.ENCODER.scale * len(played.survivors))
        return dataclasses.replace(played, mean=mean)

    monkeypatch.setattr(scale, "play", spoilt)
    with pytest.raises(RuntimeError, match="1 of 50 sums are wrong"):
        scale.run(CASE)


def test_every_plan_survives_more_than_what_vanishes():
    for gone in scale.DROPOUTS:
        for clients, length in scale.SIZES:
            case = Case(clients, length, gone)
            assert len(case.vanish) == round(gone * clients) < case.plan.drop
