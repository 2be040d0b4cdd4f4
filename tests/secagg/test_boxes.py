"""Sealed shares open for their holder only, and only as committed."""

from dataclasses import replace

import pytest

from secagg import boxes
from secagg.boxes import Box, HeldShares, Route, ShareKind
from secagg.errors import AuthenticationError, DecodeError
from secagg.keys import Secret, seal
from secagg.shamir import Share, reconstruct

ROUTE = Route(b"r" * 32, 0, 4)
AGREED = Secret(b"s" * 32)
SHARES = HeldShares(Share(5, b"a" + bytes(33)), Share(5, b"b" + bytes(33)))


def test_a_box_opens_for_its_route():
    box = boxes.close_box(AGREED, ROUTE, SHARES)
    assert boxes.open_box(AGREED, ROUTE, box) == SHARES
    assert len(box.sealed) == boxes.BOX_BYTES


@pytest.mark.parametrize(
    "route",
    [
        Route(b"x" * 32, 0, 4),
        Route(b"r" * 32, 1, 4),
        Route(b"r" * 32, 0, 3),
        Route(b"r" * 32, 4, 0),
    ],
)
def test_a_box_opens_on_no_other_route(route):
    box = boxes.close_box(AGREED, ROUTE, SHARES)
    with pytest.raises(AuthenticationError):
        boxes.open_box(AGREED, route, box)


@pytest.mark.parametrize("name", ["mask_key", "self_mask", "sealed"])
def test_every_changed_field_of_a_box_is_refused(name):
    box = boxes.close_box(AGREED, ROUTE, SHARES)
    value = getattr(box, name)
    with pytest.raises(AuthenticationError):
        bad = replace(box, **{name: bytes([value[0] ^ 1]) + value[1:]})
        boxes.open_box(AGREED, ROUTE, bad)


def sealed_by_a_lying_dealer(hashes, plaintext):
    """Seal anything under anything, correctly authenticated by its dealer."""
    associated = boxes._associated(ROUTE, *hashes)
    key = boxes._box_key(AGREED, ROUTE)
    return Box(*hashes, seal(key, plaintext, associated))


@pytest.mark.parametrize("wrong", list(ShareKind))
def test_a_dealer_who_commits_to_other_shares_is_caught_by_the_holder(wrong):
    other = Share(5, b"z" + bytes(33))
    hashes = [
        boxes.share_commitment(ROUTE, kind, other if kind is wrong else SHARES.of(kind))
        for kind in ShareKind
    ]
    box = sealed_by_a_lying_dealer(
        hashes, SHARES.mask_key.value + SHARES.self_mask.value
    )
    with pytest.raises(AuthenticationError, match="committed"):
        boxes.open_box(AGREED, ROUTE, box)


def test_a_share_that_is_not_canonical_is_refused_by_the_holder():
    hashes = [boxes.share_commitment(ROUTE, k, SHARES.of(k)) for k in ShareKind]
    box = sealed_by_a_lying_dealer(hashes, b"\xff" * 68)
    with pytest.raises(DecodeError):
        boxes.open_box(AGREED, ROUTE, box)


def test_commitments_differ_by_kind_and_route():
    share = SHARES.mask_key
    seen = {
        boxes.share_commitment(route, kind, share)
        for route in (ROUTE, Route(b"r" * 32, 4, 0))
        for kind in ShareKind
    }
    assert len(seen) == 4


def test_dealt_shares_give_both_secrets_back():
    secrets = (Secret(b"k" * 32), Secret(b"m" * 32))
    agreed = {v: Secret(bytes([v]) * 32) for v in (1, 2, 5)}
    from secagg.prg import simulation_rng

    dealt = boxes.deal_boxes(
        agreed,
        secrets=secrets,
        threshold=2,
        round_id=b"r" * 32,
        dealer=0,
        rng=simulation_rng(1),
    )
    held = [
        boxes.open_box(agreed[holder], Route(b"r" * 32, 0, holder), box)
        for holder, box in dealt
    ]
    for kind, secret in zip(ShareKind, secrets, strict=True):
        assert reconstruct([shares.of(kind) for shares in held[1:]]) == secret


def test_no_two_routes_seal_with_one_key():
    # The nonce is constant: under one key, equal shares would give equal ciphertexts,
    # and different ones their difference.
    routes = [
        ROUTE,
        Route(b"r" * 32, 4, 0),
        Route(b"r" * 32, 0, 3),
        Route(b"r" * 32, 1, 4),
        Route(b"x" * 32, 0, 4),
        Route(b"r" * 32, 256, 4),
    ]
    sealed = {boxes.close_box(AGREED, route, SHARES).sealed[:16] for route in routes}
    assert len(sealed) == len(routes)


def test_a_seeds_commitment_depends_on_round_owner_and_seed():
    given = [
        (b"r" * 32, 1, Secret(b"s" * 32)),
        (b"x" * 32, 1, Secret(b"s" * 32)),
        (b"r" * 32, 2, Secret(b"s" * 32)),
        (b"r" * 32, 1, Secret(b"t" * 32)),
    ]
    assert len({boxes.seed_commitment(*each) for each in given}) == len(given)
