"""What each protection runs, and that its words say no more than its plan does."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import secagg
from fl.doctor import examine
from fl.plans import plan
from fl.protection import in_the_clear
from fl.protections import NAMES as EVERY
from fl.report.records import refused_word
from fl.sensitivity import fitted
from secagg.he.seal import reads_saved
from tests.fl import tiny

# Compact ciphertexts need Linux, and the package zstandard.
NAMES = [name for name in EVERY if name != "he-compact" or reads_saved()]


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


def test_only_masks_and_ciphers_claim_to_hide_an_upload_and_say_from_whom() -> None:
    settings = tiny.config("federation.clients=9", "federation.corrupt=4")
    assert tiny.protection("none", settings).hides_one_upload is None
    rule = tiny.protection("secagg", settings).hides_one_upload
    assert rule is not None
    assert "at most 4 colluding clients" in rule
    assert "assumes" in rule
    encrypted = tiny.protection("he-bfv", settings).hides_one_upload
    assert encrypted is not None
    assert "no client hands the key over" in encrypted
    for name in ("dp-sgd", "central-dp"):
        assert tiny.protection(name, settings).hides_one_upload is None
    assert tiny.protection("secagg+central-dp", settings).hides_one_upload == rule


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


UNITS = {
    "none": None,
    "secagg": None,
    "he-bfv": None,
    "he-compact": None,
    "he-ckks": None,
    "he-selective": None,
    "dp-sgd": "example",
    "secagg+dp-sgd": "example",
    "he-bfv+dp-sgd": "example",
    "central-dp": "client",
    "secagg+central-dp": "client",
    "distributed-dp": "client",
    "dp-ftrl": "client",
    "secagg+dp-ftrl": "client",
    "local-dp": "client",
}
ZEROED = "zero out one"
RELATIONS = dict.fromkeys(("distributed-dp", "dp-ftrl", "secagg+dp-ftrl"), ZEROED)
RELATIONS["local-dp"] = "replace one"


@pytest.mark.parametrize("name", NAMES)
def test_each_protection_has_its_unit_its_weights_and_its_event(name: str) -> None:
    found = tiny.protection(name, tiny.config())
    assert found.unit == UNITS[name]
    assert (found.event(100) is None) == (found.unit is None)
    assert found.relation == RELATIONS.get(name, "add or remove one")
    assert found.weight(17) == (17 if found.unit is None else 1)
    assert (found.counter is None) == (found.unit is not None)


@pytest.mark.parametrize("name", NAMES)
def test_in_the_clear_only_the_secrecy_is_lost(name: str) -> None:
    found = tiny.protection(name, tiny.config())
    bare = in_the_clear(found)
    assert bare.hides_one_upload is None and bare.shared_key is None
    assert (bare.example, bare.central) == (found.example, found.central)
    assert (bare.clip_norm_l2, bare.sum_error) == (
        found.clip_norm_l2,
        found.sum_error,
    )
    assert bare.aggregator(3).name == "none"
    assert (bare.shares is None) == isinstance(bare.aggregator(3), secagg.PlainSum)


@pytest.mark.parametrize("name", NAMES)
def test_a_protection_can_be_sent_to_a_worker(name: str) -> None:
    settings = tiny.config()
    found = tiny.protection(name, settings)
    found, again = (
        fitted(one, tiny.federation(settings), settings.model)
        for one in (found, pickle.loads(pickle.dumps(found)))
    )
    assert (again.name, again.unit, again.example) == (
        found.name,
        found.unit,
        found.example,
    )
    assert again.aggregator(5).name == found.aggregator(5).name


def test_encrypted_counts_come_back_exactly() -> None:
    found = tiny.protection("he-bfv", tiny.config())
    assert found.counter is not None
    counts = {f"c{i}": np.full(3, 5.0 + i, np.float32) for i in range(5)}
    aggregate = found.counter.aggregate(
        counts,
        dict.fromkeys(counts, 1),
        context=bytes(32),
        session=b"counts",
        seed=bytes(32),
    )
    total = aggregate.mean.astype(float) * aggregate.weight
    np.testing.assert_array_equal(np.round(total), np.full(3, 35.0))
    assert np.abs(total - 35).max() < 0.5
    for upload in aggregate.transcript.uploads().values():
        assert not np.allclose(upload.vector, 5, atol=5)


def test_the_doctor_aggregates_for_real() -> None:
    checks = {check.name: check for check in examine()}
    assert checks["secure aggregation"].ok
    assert "one vanished" in checks["secure aggregation"].detail
    assert checks["numpy"].ok
    assert checks["key in shares"].detail.startswith("none: a key that nobody holds")
