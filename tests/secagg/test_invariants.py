"""The search for leaks, on rounds written by hand: right to the share."""

from dataclasses import replace

import pytest

import secagg
from secagg.boxes import BOX_BYTES, COMMITMENT_BYTES, Box, ShareKind
from secagg.dealing import ShareDelivery
from secagg.encode import layout
from secagg.graph import graph_of
from secagg.invite import Invite
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.shamir import SHARE_BYTES
from secagg.testing import Schedule, find_leak, judge, play
from secagg.testing.network import Exchange
from secagg.testing.rounds import LENGTH, Play
from secagg.upload import MaskedInput

KEY, OWN = ShareKind.MASK_KEY, ShareKind.SELF_MASK
BOX = Box(bytes(COMMITMENT_BYTES), bytes(COMMITMENT_BYTES), bytes(BOX_BYTES))


def written(plan, *, survivors, partners, revealed):
    """Return a round as it would have gone.

    Args:
        plan: Its plan.
        survivors: u3, as the server asked everybody.
        partners: By uploader, whose boxes it got.
        revealed: By owner and kind, the holders that revealed a share.
    """
    roster = tuple(f"client-{i}" for i in range(plan.clients))
    invite = Invite(b"written", plan, roster, LENGTH)
    name = invite.round_id
    packed = bytes(layout(plan.encoder, clients=plan.clients, length=3).packed_bytes)
    exchanges, requests = [], []
    for client, dealers in partners.items():
        boxes = tuple((v, BOX) for v in sorted(dealers))
        delivery = ShareDelivery(name, client, boxes).encode()
        upload = MaskedInput(name, client, bytes(32), packed).encode()
        exchanges.append(Exchange(client, delivery, (upload,)))
    for holder in range(plan.clients):
        request = UnmaskRequest(name, holder, frozenset(survivors)).encode()
        shares = tuple(
            RevealedShare(owner, kind, bytes(SHARE_BYTES))
            for (owner, kind), holders in sorted(revealed.items())
            if holder in holders
        )
        requests.append((holder, request))
        if shares:
            answer = UnmaskShares(name, holder, shares).encode()
            exchanges.append(Exchange(holder, request, (answer,)))
    return Play(
        plan=plan,
        invite=invite,
        inputs=(),
        requests=tuple(requests),
        exchanges=tuple(exchanges),
        fired=(),
        events=0,
        ended=True,
        outcome=None,
        error=None,
    )


SEVEN = secagg.plan(7, 1, 3, graph="complete")  # t = 3
EVERYBODY = {i: set(range(7)) - {i} for i in range(7)}


def revealing(plan=SEVEN, partners=EVERYBODY, survivors=range(7), **holders):
    """Name the holders of client 0's shares by kind."""
    revealed = {(0, ShareKind[kind]): who for kind, who in holders.items()}
    return written(plan, survivors=survivors, partners=partners, revealed=revealed)


def test_shares_of_colluders_count_though_they_were_never_sent():
    assert SEVEN.t == 3
    leak = find_leak(revealing(MASK_KEY={1, 2}, SELF_MASK={3, 4, 5, 6}))
    assert "both secrets of client 0" in leak
    assert "the mask key of client 0, a survivor" in find_leak(
        revealing(MASK_KEY={1, 2})
    )


def test_one_share_fewer_is_no_leak():
    assert find_leak(revealing(MASK_KEY={1}, SELF_MASK={3, 4, 5, 6})) == ""


def test_whoever_trusts_everybody_is_looked_after_too():
    trusting = secagg.plan(7, 0, 3, graph="complete")
    assert trusting.t == 3
    leak = find_leak(revealing(trusting, MASK_KEY={1, 2, 3}, SELF_MASK={4, 5, 6}))
    assert leak == "both secrets of client 0 can be put together. (colluders: none)"
    assert find_leak(revealing(trusting, MASK_KEY={1, 2}, SELF_MASK={4, 5, 6})) == ""


def test_a_share_of_a_stranger_opens_nothing():
    plan = secagg.plan(6, 1, 1, graph="k-regular")
    roster = tuple(f"client-{i}" for i in range(6))
    graph = graph_of(plan, Invite(b"written", plan, roster, LENGTH).round_id)
    near = sorted(graph.neighbours(0))
    (stranger,) = set(range(1, 6)) - set(near)
    partners = {i: graph.neighbours(i) for i in range(6)}
    few = set(near[: plan.t - 2])
    arguments = {"plan": plan, "partners": partners, "survivors": range(6)}
    assert find_leak(revealing(**arguments, MASK_KEY=few | {stranger})) == ""
    enough = set(near[: plan.t - 1])
    assert "the mask key of client 0" in find_leak(
        revealing(**arguments, MASK_KEY=enough)
    )


def test_masks_shared_with_an_opened_key_hold_no_sum_together():
    # Clients 0 and 1 were told that they are alone with client 6, which then dropped.
    partners = {0: {1, 6}, 1: {0, 6}}
    partners |= {i: {2, 3, 4, 5, 6} - {i} for i in range(2, 6)}
    revealed = {(i, OWN): set(range(6)) - {i} for i in range(6)}
    revealed[6, KEY] = set(range(6))
    trusting = secagg.plan(7, 0, 3, graph="complete")
    cut = written(trusting, survivors=range(6), partners=partners, revealed=revealed)
    assert "alone can be unmasked" in find_leak(cut)
    whole = {i: set(range(7)) - {i} for i in range(6)}
    sound = written(trusting, survivors=range(6), partners=whole, revealed=revealed)
    assert find_leak(sound) == ""


def test_a_client_that_never_uploaded_is_no_survivor():
    # The server says that client 0 survived, and so has its own mask opened.
    partners = {i: set(range(7)) - {i} for i in range(1, 7)}
    leak = find_leak(revealing(partners=partners, SELF_MASK={1, 2, 3}))
    assert "the own mask of client 0, which dropped" in leak


@pytest.mark.parametrize(("drop", "end"), [(1, "sum"), (0, "wrong sum")])
def test_a_sum_over_fewer_clients_than_the_plan_says_is_wrong(drop, end):
    lost = secagg.testing.Mishap(secagg.testing.Way.ANSWER, secagg.testing.Kind.BEFORE)
    step = secagg.invite.Step.MASKED_INPUT
    played = play(secagg.plan(5, 1, 1, graph="complete"), Schedule({(4, step): lost}))
    stricter = secagg.plan(5, 1, drop, graph="complete")
    verdict = judge(replace(played, plan=stricter))
    assert verdict.end == end, verdict
