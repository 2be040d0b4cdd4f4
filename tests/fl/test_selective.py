"""Selective encryption in an audit: what is chosen, who sees what, what is attacked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

import secagg
from attacks import Adversary, Certificate, LinearInversion
from fl.config import Config, ModelConfig
from fl.finding import Missing
from fl.looks import FILLED, looks
from fl.membership import LOSS, findings
from fl.models import build
from fl.protections import build as protect
from fl.seeds import rng_for, seed_for
from fl.sensitivity import PROBES, fitted, selection, sensitivity
from fl.shots import Shot
from fl.view import Scene
from secagg.he.selective import SelectiveTranscript
from tests.fl import tiny

SERVER, PLUS, CLIENT = Adversary.SERVER, Adversary.SERVER_PLUS, Adversary.CLIENT
NAME = "he-selective"
SHAPE, CLASSES, RANGE = (6,), 3, (0.0, 1.0)
OPEN, OPENED = "the open part of one upload", "one upload, opened with the shared key"
HIDDEN = "one encrypted, masked upload"
OPENED_PART = "the encrypted part of one upload, opened with the shared key"
SUM, OTHERS = "sum of the cohort", "the honest clients' sum"
RELEASED = "change of the released model"
TABLE = {
    "plain": {
        OPEN: ({SERVER}, False),
        OPENED: ({PLUS}, False),
        SUM: ({SERVER, PLUS}, False),
        RELEASED: ({CLIENT}, False),
    },
    "masked": {
        HIDDEN: ({SERVER}, True),
        OPENED_PART: ({PLUS}, False),
        SUM: ({SERVER, PLUS}, False),
        RELEASED: ({CLIENT}, False),
        OTHERS: ({PLUS}, False),
    },
}


def config(rest: str, *sets: str) -> Config:
    return tiny.config("training.rounds=1", f"he.rest={rest}", *sets)


def flat(parts: Mapping[str, torch.Tensor] | None) -> np.ndarray:
    assert parts is not None
    return torch.cat([part.flatten() for part in parts.values()]).numpy()


def test_the_ranking_is_how_far_a_gradient_moves_with_the_label() -> None:
    model = ModelConfig(kind="logreg")
    net = build(model, SHAPE, CLASSES, seed_for(0, "sensitivity"))
    records = rng_for(0, "sensitivity").uniform(*RANGE, (PROBES, *SHAPE))
    weight, bias = (p.detach().double().numpy() for p in net.parameters())
    expected = np.zeros(CLASSES * 6 + CLASSES)
    for number, x in enumerate(records.astype(np.float32).astype(float)):
        odds = np.exp(weight @ x + bias)
        # d log p_c / d z_j = 1[j = c] - p_j, times the input for a weight.
        slope = (np.arange(CLASSES) == number % CLASSES) - odds / odds.sum()
        both = np.concatenate([np.outer(slope, x).ravel(), slope])
        expected += np.abs(both) / PROBES
    found = sensitivity(model, SHAPE, CLASSES, RANGE)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_choice_is_public_whatever_the_records_are() -> None:
    settings = config("plain")
    protection = tiny.protection(NAME, settings)
    chosen = []
    for seed in (0, 1):
        fed = tiny.federation(settings, seed=seed, raw=tiny.dataset(seed=seed))
        aggregator = fitted(protection, fed, settings.model).aggregator(5)
        chosen.append(aggregator.selection)
    assert chosen[0] == chosen[1]
    assert chosen[0] == selection(settings.model, SHAPE, CLASSES, RANGE, 0.1)
    assert chosen[0].hidden.sum() == np.ceil(0.1 * chosen[0].length)


def test_other_protections_are_left_as_they_are() -> None:
    settings = config("plain")
    fed = tiny.federation(settings)
    for name in ("none", "he-bfv"):
        protection = tiny.protection(name, settings)
        assert fitted(protection, fed, settings.model) is protection


def test_nothing_is_summed_before_the_choice() -> None:
    settings = config("plain")
    with pytest.raises(secagg.ParameterError, match="nobody has chosen"):
        protect(NAME, settings, 5).aggregator(5)


@pytest.mark.parametrize("rest", TABLE)
def test_who_sees_what(rest: str) -> None:
    settings = config(rest)
    run, fed = tiny.trained(settings, NAME)
    protection, snapshot = tiny.protection(NAME, settings), run.snapshots[0]
    scene = Scene(
        federation=fed,
        config=settings,
        protection=protection,
        training=settings.training,
        records=len(fed.train_ids) / len(fed.clients),
    )
    found = {one.observation.view: one for one in looks(scene, snapshot, 0)}
    assert {
        view: (set(one.adversaries), one.prevented is not None)
        for view, one in found.items()
    } == TABLE[rest]
    transcript = snapshot.aggregate.transcript
    assert isinstance(transcript, SelectiveTranscript)
    hidden = transcript.selection.hidden
    part = OPEN if rest == "plain" else OPENED_PART
    assert found[part].observation.known is not None
    assert np.array_equal(
        flat(found[part].observation.known), hidden ^ (rest == "plain")
    )
    # What was seen is the victim's update up to one factor; the rest is nothing.
    (victim,) = found[part].names
    seen = flat(found[part].observation.gradient)
    known = flat(found[part].observation.known)
    ratio = seen[known] @ seen[known] / (seen[known] @ snapshot.updates[victim][known])
    error = np.abs(seen[known] - ratio * snapshot.updates[victim][known]).max()
    assert error <= 2 * abs(ratio) * snapshot.aggregate.max_error
    assert not seen[~known].any()


def _distance(shot: Shot) -> float:
    """Return how near the best candidate comes to the record, per value."""
    found = LinearInversion().run(shot.observation, seed=0)
    assert found.certificate is not Certificate.CERTIFIED
    if len(found.inputs) == 0:
        return float("inf")
    gaps = (found.inputs - shot.x.reshape(1, -1)).abs()
    return float(gaps.mean(dim=1).min())


def test_the_part_left_open_is_attacked_and_gives_the_record_away() -> None:
    for fraction, recovered in ((0.05, True), (0.9, False)):
        settings = config("plain", f"he.fraction={fraction}", "model.kind=logreg")
        (shot,) = (one for one in tiny.worst_shots(settings, NAME) if OPEN in one.view)
        assert shot.prevented is None
        assert (_distance(shot) < 1e-3) == recovered


def test_members_are_looked_for_in_what_is_read_and_the_sum_elsewhere() -> None:
    for rest in TABLE:
        settings = config(rest)
        run, fed = tiny.trained(settings, NAME)
        protection = tiny.protection(NAME, settings)
        none = Missing(metric="AUC", why="not tried")
        views = {
            (found.adversary, found.view)
            for found in findings([(run, fed)], protection, none, settings)
            if found.attack == LOSS and found.view != "released model"
        }
        opened = "one client's model, opened with the shared key"
        if rest == "plain":
            assert views == {
                (SERVER, f"one client's model, {FILLED}"),
                (PLUS, opened),
            }
        else:
            assert views == {(PLUS, f"{opened}, {FILLED}"), (PLUS, OTHERS)}
