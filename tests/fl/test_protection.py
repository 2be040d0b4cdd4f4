"""What each protection runs, and that its words say no more than its plan does."""

from __future__ import annotations

import numpy as np
import pytest

import secagg
from fl.doctor import examine
from fl.protection import NAMES, plan
from fl.report.records import refused_word
from tests.fl import tiny


def test_the_plan_is_the_configured_one() -> None:
    settings = tiny.config(
        "federation.clients=9",
        "federation.corrupt=2",
        "federation.drop=3",
        "training.clip_norm_l2=2.5",
        "training.value_bits=20",
        "training.weight_max=77",
    )
    agreed = plan(settings, 9)
    assert (agreed.clients, agreed.corrupt, agreed.drop) == (9, 2, 3)
    encoder = agreed.encoder
    assert (encoder.clip_norm_l2, encoder.value_bits) == (2.5, 20)
    assert encoder.weight_max == 77


def test_only_masks_claim_to_hide_an_upload_and_name_the_colluders() -> None:
    settings = tiny.config("federation.clients=9", "federation.corrupt=4")
    assert tiny.protection("none", settings).hides_one_upload is None
    rule = tiny.protection("secagg", settings).hides_one_upload
    assert rule is not None
    assert "at most 4 colluding clients" in rule
    assert "assumes" in rule


@pytest.mark.parametrize("name", NAMES)
def test_no_protection_is_praised_beyond_its_proof(name: str) -> None:
    found = tiny.protection(name, tiny.config("privacy.allow_useless=true"))
    assert found.name == name
    assert refused_word(found.proves) is None
    assert refused_word(found.hides_one_upload or "") is None


def test_what_masks_prove_is_the_plans_own_sentence_with_its_limit() -> None:
    settings = tiny.config()
    proves = tiny.protection("secagg", settings).proves
    assert str(plan(settings, 5)) in proves
    assert "does not bound what the sum itself reveals" in proves
    assert "Nothing" in tiny.protection("none", settings).proves


def test_counts_go_under_the_same_masks_as_updates() -> None:
    found = tiny.protection("secagg", tiny.config())
    assert isinstance(found.counter, secagg.PairwiseMask)
    counts = {f"c{i}": np.full(3, 1.0 + i, np.float32) for i in range(5)}
    aggregate = found.counter.aggregate(
        counts,
        dict.fromkeys(counts, 1),
        context=bytes(32),
        session=b"counts",
        seed=bytes(32),
    )
    uploads = aggregate.transcript.uploads()
    for name, own in counts.items():
        assert not np.allclose(uploads[name].vector, own, atol=0.5)
        assert uploads[name].weight is None


def test_the_doctor_aggregates_for_real() -> None:
    checks = {check.name: check for check in examine()}
    assert checks["secure aggregation"].ok
    assert "one vanished" in checks["secure aggregation"].detail
    assert checks["numpy"].ok
