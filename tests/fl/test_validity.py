"""The validity gate asks of the very records that membership was asked of."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import Adversary
from attacks.membership.federated.registry import ATTACKS
from fl.data import Dataset
from fl.evidence import Evidence, Repeat
from fl.federation import Federation
from fl.finding import Finding, Group, Missing, Ranking
from fl.membership import LIRA, LOSS
from fl.report import Gate, ValidityRow
from fl.validity import BY_CLIENT, TOGETHER, gate, validity
from tests.fl import tiny

SETTINGS = tiny.config("federation.clients=4", "federation.corrupt=0")
FILTER = ATTACKS["matched-filter"].title
OWN, RELEASED = "one client's model", "released model"


def finding(view: str, *sets: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Finding:
    groups = tuple(
        Group(
            scores=np.zeros(len(inside) + len(outside)),
            members=np.arange(len(inside) + len(outside)) < len(inside),
            records=np.concatenate([inside, outside]),
        )
        for inside, outside in sets
    )
    return Finding(
        protection="none",
        adversary=Adversary.SERVER,
        view=view,
        scenario="as configured",
        attack=LOSS,
        measures=(Ranking(groups=groups),) if groups else (Missing(metric="", why=""),),
        seeds=(0,),
    )


def evidence(federation: Federation, *rankings: Finding) -> Evidence:
    repeat = type("Dealt", (), {"federations": {"none": federation}})
    return Evidence(repeats=[cast(Repeat, repeat)], rankings=list(rankings))


def federation(raw: Dataset | None = None) -> Federation:
    return tiny.federation(SETTINGS, raw=raw or tiny.dataset(records=200))


def released(fed: Federation) -> Finding:
    return finding(RELEASED, (fed.train_ids, fed.held_out.ids))


def test_held_out_records_from_elsewhere_make_the_audit_invalid() -> None:
    raw = tiny.dataset(records=200)
    rows = federation(raw).held_out.ids
    moved = raw.features.copy()
    moved[rows] += 0.3
    fed = federation(replace(raw, features=moved))
    (row,) = validity(evidence(fed, released(fed)), SETTINGS)
    assert row.beats_chance and row.low is not None and row.low > 0.5
    judged = gate([row])
    assert not judged.passed
    assert "INVALID for released model" in judged.detail


def test_an_honest_split_is_valid_and_says_what_it_rests_on() -> None:
    fed = federation()
    clients = finding(
        OWN,
        *(
            (one.ids, fed.held_out_like(one.ids, fed.held_out.ids))
            for one in fed.clients
        ),
    )
    rows = validity(evidence(fed, released(fed), clients), SETTINGS)
    assert [row.view for row in rows] == [RELEASED, OWN]
    assert [row.confidence for row in rows] == [0.975, 0.975]
    assert [row.groups for row in rows] == [1, 4]
    assert rows[0].n == 200
    judged = gate(rows)
    assert judged.passed and RELEASED in judged.detail and OWN in judged.detail


def test_labels_alone_invalidate_a_client_whose_non_members_have_others() -> None:
    fed = federation()
    labels = fed.dataset.labels
    ones = fed.train_ids[labels[fed.train_ids] == 1]
    mixed = finding(OWN, (ones, fed.held_out.ids))
    (row,) = validity(evidence(fed, mixed), SETTINGS)
    assert row.beats_chance and row.learner == "labels alone"


def test_records_that_only_attacks_on_rounds_asked_about_are_looked_at() -> None:
    fed = federation()
    labels = fed.dataset.labels
    skewed = fed.train_ids[labels[fed.train_ids] == 1], fed.held_out.ids
    even = fed.train_ids, fed.held_out.ids
    found = [
        replace(finding("sums of the cohort", skewed), attack=FILTER),
        replace(finding("all masked uploads", even), attack=FILTER),
        replace(finding("changes of the released model", skewed), attack=FILTER),
    ]
    together, each = validity(evidence(fed, *found), SETTINGS)
    assert (together.view, together.groups_of) == (TOGETHER, 1)
    assert together.beats_chance and each.view == BY_CLIENT and not each.beats_chance


def test_each_set_of_records_is_asked_once_however_it_was_read() -> None:
    fed = federation()
    own = [(one.ids, fed.held_out.ids) for one in fed.clients]
    read = finding(OWN, *own), finding(f"{OWN}, opened with the shared key", *own)
    rounds = replace(finding("models of all rounds", *own), attack=LIRA)
    other = replace(released(fed), attack="attribute inference", view="other")
    found = evidence(fed, *read, rounds, other, finding(RELEASED))
    (row,) = validity(found, SETTINGS)
    assert (row.view, row.groups, row.groups_of) == (OWN, 4, 4)


def test_too_few_records_are_said_to_be_too_few() -> None:
    fed = federation()
    few = finding(RELEASED, (fed.train_ids[:5], fed.held_out.ids))
    (row,) = validity(evidence(fed, few), SETTINGS)
    assert row.value is None and not row.beats_chance
    assert "nobody looked" in gate([row]).detail


def test_nothing_was_asked_where_nothing_was_attacked() -> None:
    assert validity(evidence(federation()), SETTINGS) == ()


def test_a_row_cannot_claim_to_beat_chance_with_an_interval_that_holds_it() -> None:
    with pytest.raises(ValueError, match="beat chance"):
        ValidityRow(
            view=RELEASED,
            learner="labels alone",
            value=0.6,
            low=0.49,
            high=0.7,
            confidence=0.95,
            n=100,
            groups=1,
            groups_of=1,
            permuted=0.55,
            beats_chance=True,
        )
    assert isinstance(gate([]), Gate)
