"""Every message round-trips; every tampered twin is refused or decodes to another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg import usage
from secagg.boxes import BOX_BYTES, COMMITMENT_BYTES, Box, ShareKind
from secagg.dealing import SealedShares, ShareDelivery
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Invite, Limits, Step
from secagg.keylist import Advertise, KeyList, NeighbourKeys, PublicKeys
from secagg.messages import MESSAGES, Abort, decode, step_of
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.upload import MaskedInput, PlainInput
from secagg.wire import HEADER_BYTES, split_header

PLAN = secagg.plan(clients=4, corrupt=1, drop=1)
SPARSE = secagg.plan(clients=6, corrupt=1, drop=1, graph="k-regular")
INVITE = Invite(b"session", PLAN, ("a", "b", "c", "dé"), 9)
ROUND = INVITE.round_id
SPARSE_INVITE = Invite(b"session", SPARSE, tuple("abcdef"), 9)
LIMITS = Limits(6, 20)


def box(fill: int) -> Box:
    return Box(
        bytes([fill]) * COMMITMENT_BYTES,
        bytes([fill + 1]) * COMMITMENT_BYTES,
        bytes([fill + 2]) * BOX_BYTES,
    )


def keys(index: int, signature: bytes = b"") -> PublicKeys:
    return PublicKeys(index, bytes([index]) * 32, bytes([index + 100]) * 32, signature)


GOOD = [
    INVITE,
    SPARSE_INVITE,
    Advertise(ROUND, keys(2)),
    Advertise(ROUND, keys(2, b"s" * 64)),
    KeyList(ROUND, (keys(0), keys(1, b"s" * 64), keys(3))),
    NeighbourKeys(ROUND, 1, b"d" * 32, (keys(0), keys(1, b"s" * 64), keys(3))),
    SealedShares(ROUND, 1, b"c" * 32, ((0, box(1)), (2, box(4)))),
    ShareDelivery(ROUND, 1, ((0, box(1)), (2, box(4)))),
    MaskedInput(ROUND, 3, b"x" * 32, bytes(range(20))),
    UnmaskRequest(ROUND, 1, frozenset({0, 1, 3})),
    UnmaskRequest(ROUND, 0, frozenset()),
    UnmaskShares(
        ROUND,
        1,
        (
            RevealedShare(0, ShareKind.SELF_MASK, b"v" * 34),
            RevealedShare(2, ShareKind.MASK_KEY, b"w" * 34),
        ),
    ),
    Abort(ROUND),
]
ids = [type(message).__name__ for message in GOOD]


def test_every_message_class_has_a_good_example():
    assert {type(message) for message in GOOD} == set(MESSAGES)
    assert len({kind.TAG for kind in (*MESSAGES, PlainInput)}) == len(MESSAGES) + 1


@pytest.mark.parametrize("message", GOOD, ids=ids)
def test_messages_round_trip(message):
    data = message.encode()
    assert decode(data, LIMITS) == message
    assert step_of(data) == message.STEP
    assert len(data) <= HEADER_BYTES + type(message).cap(LIMITS)


@pytest.mark.parametrize("message", GOOD, ids=ids)
def test_every_flipped_bit_is_refused_or_seen(message):
    data = message.encode()
    for at in range(len(data)):
        for bit in (1, 0x80):
            twin = bytearray(data)
            twin[at] ^= bit
            try:
                decoded = decode(bytes(twin), LIMITS)
            except DecodeError:
                continue
            assert decoded != message and decoded.encode() == twin


@pytest.mark.parametrize("message", GOOD, ids=ids)
def test_every_truncation_and_every_extension_is_refused(message):
    data = message.encode()
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:size], LIMITS)
    with pytest.raises(DecodeError):
        decode(data + b"\0", LIMITS)


@settings(max_examples=300, deadline=None)
@given(
    tag=st.integers(0, 14),
    body=st.binary(max_size=300),
    round_id=st.sampled_from([ROUND, bytes(32)]),
)
def test_decode_returns_canonical_messages_or_raises_decode_error(tag, body, round_id):
    data = bytes([usage.VERSION, tag]) + round_id + body
    try:
        assert decode(data, LIMITS).encode() == data
    except DecodeError:
        pass


@pytest.mark.parametrize("message", GOOD, ids=ids)
def test_the_cap_is_checked_before_anything_is_read(message):
    huge = message.encode()[:HEADER_BYTES] + bytes(100_000)
    with pytest.raises(DecodeError, match="more than the cap"):
        decode(huge, LIMITS)


def test_another_version_and_unknown_tags_are_refused():
    data = GOOD[2].encode()
    with pytest.raises(DecodeError, match="version"):
        decode(bytes([usage.VERSION + 1]) + data[1:], LIMITS)
    for tag in (0, 16, 255):
        with pytest.raises(DecodeError, match="tag"):
            decode(data[:1] + bytes([tag]) + data[2:], LIMITS)
        with pytest.raises(DecodeError, match="tag"):
            step_of(data[:1] + bytes([tag]) + data[2:])


@pytest.mark.parametrize(
    "build",
    [
        lambda: KeyList(ROUND, (keys(1), keys(0))),
        lambda: KeyList(ROUND, (keys(1), keys(1))),
        lambda: KeyList(
            ROUND, (keys(1), PublicKeys(2, keys(1).mask_public, b"z" * 32))
        ),
        lambda: NeighbourKeys(ROUND, 0, b"d" * 32, (keys(1), keys(0))),
        lambda: NeighbourKeys(ROUND, 0, b"d" * 32, (keys(1), keys(1))),
        lambda: NeighbourKeys(ROUND, 0, b"d" * 31, (keys(0), keys(1))),
        lambda: PublicKeys(0, b"short", b"y" * 32),
        lambda: PublicKeys(0, b"x" * 32, b"y" * 32, b"short"),
        lambda: SealedShares(ROUND, 0, b"c" * 32, ((0, box(1)),)),
        lambda: SealedShares(ROUND, 0, b"c", ((1, box(1)),)),
        lambda: ShareDelivery(ROUND, 1, ((2, box(1)), (0, box(1)))),
        lambda: ShareDelivery(ROUND, 1, ((0, Box(b"", b"", b"")),)),
        lambda: MaskedInput(ROUND, 0, b"short", b""),
        lambda: UnmaskShares(
            ROUND, 1, (RevealedShare(1, ShareKind.MASK_KEY, b"v" * 34),)
        ),
        lambda: UnmaskShares(
            ROUND,
            1,
            (
                RevealedShare(2, ShareKind.MASK_KEY, b"v" * 34),
                RevealedShare(2, ShareKind.SELF_MASK, b"v" * 34),
            ),
        ),
    ],
)
def test_messages_that_break_an_invariant_cannot_be_built(build):
    with pytest.raises(DecodeError):
        build()


@pytest.mark.parametrize(
    "change",
    [
        {"session": b""},
        {"session": b"x" * 257},
        {"roster": ("a", "b", "c")},
        {"roster": ("a", "b", "c", "c")},
        {"roster": ("a", "b", "c", "")},
        {"roster": ("a", "b", "c", "server")},
        {"roster": ("a", "b", "c", "x" * 129)},
        {"roster": ("a", "b", "c", "\ud800")},
        {"length": 0},
        {"length": 2**32},
    ],
)
def test_invitations_out_of_range_are_refused(change):
    fields = {"session": b"s", "plan": PLAN, "roster": INVITE.roster, "length": 9}
    Invite(**fields)
    with pytest.raises(ParameterError):
        Invite(**fields | change)


def test_the_round_id_covers_every_field_of_the_invitation():
    other_plan = secagg.plan(clients=4, corrupt=0, drop=1)
    variants = [
        INVITE,
        Invite(b"other", PLAN, INVITE.roster, 9),
        Invite(b"session", other_plan, INVITE.roster, 9),
        Invite(b"session", PLAN, ("b", "a", "c", "dé"), 9),
        Invite(b"session", PLAN, INVITE.roster, 10),
    ]
    assert len({invite.round_id for invite in variants}) == len(variants)


def test_bulk_and_secret_fields_do_not_print():
    for message in GOOD:
        shown = repr(message)
        assert "vvvv" not in shown and "wwww" not in shown and len(shown) < 400


def test_plain_uploads_round_trip():
    vector = np.array([1.5, -2.0], dtype=np.float32)
    upload = PlainInput.of(ROUND, vector, 7)
    back = PlainInput.decode(upload.encode())
    assert back == upload and back.values().tolist() == [1.5, -2.0]
    assert step_of(upload.encode()) is Step.MASKED_INPUT
    odd = [PlainInput.of(ROUND, np.array([x], np.float32), 1) for x in (np.nan, np.inf)]
    odd.append(PlainInput.of(ROUND, vector, 0))
    short = (upload.encode()[:-1], upload.encode()[:20], Abort(ROUND).encode())
    for bad in (*short, *(message.encode() for message in odd)):
        with pytest.raises(DecodeError):
            PlainInput.decode(bad)


def test_rounds_that_differ_in_one_byte_have_different_ids():
    variants = [
        INVITE,
        Invite(b"sessioN", PLAN, INVITE.roster, 9),
        Invite(b"Session", PLAN, INVITE.roster, 9),
        Invite(b"session", PLAN, ("a", "b", "c", "dè"), 9),
        Invite(b"session", PLAN, ("x", "b", "c", "dé"), 9),
        Invite(b"session", PLAN, INVITE.roster, 9 + (1 << 24)),
    ]
    assert len({invite.round_id for invite in variants}) == len(variants)


def test_an_invitation_under_another_rounds_id_is_refused_as_such():
    data = INVITE.encode()
    with pytest.raises(DecodeError, match="another round"):
        decode(data[:2] + bytes(32) + data[HEADER_BYTES:], LIMITS)


@pytest.mark.parametrize("read", [split_header, step_of])
def test_a_header_is_never_read_from_fewer_bytes(read):
    data = Abort(ROUND).encode()
    assert len(data) == HEADER_BYTES
    for size in range(HEADER_BYTES):
        with pytest.raises(DecodeError, match="header"):
            read(data[:size])


def test_each_refusal_says_what_is_wrong():
    listed = KeyList(ROUND, tuple(keys(i) for i in range(5))).encode()
    at = HEADER_BYTES
    name = INVITE.encode().rindex(b"b")  # the second client's
    for data, limits, sentence in [
        # Five unsigned keys are no longer than four signed ones may be.
        (listed, Limits(4, 20), "list claims 5 entries"),
        (listed[:at] + b"\x06\0" + listed[at + 2 :], LIMITS, "list claims 6 entries"),
        (listed + b"\0", LIMITS, "1 trailing byte"),
        (INVITE.encode()[:name] + b"\xff" + INVITE.encode()[name + 1 :], LIMITS, "UTF"),
    ]:
        with pytest.raises(DecodeError, match=sentence):
            decode(data, limits)


def test_a_set_of_survivors_has_one_encoding():
    short = UnmaskRequest(ROUND, 0, frozenset({0, 1})).encode()
    assert short.endswith(b"\x01\x00\x03")  # one byte of members
    long = short[:-3] + b"\x02\x00\x03\x00"
    assert decode(short, Limits(16, 20)).encode() == short
    with pytest.raises(DecodeError, match="canonical"):
        decode(long, Limits(16, 20))


def test_no_survivor_stands_beyond_the_end_of_the_roster():
    for index, clients in ((5, 6), (7, 8)):
        request = UnmaskRequest(ROUND, 0, frozenset({0, index}))
        assert decode(request.encode(), Limits(clients, 20)) == request
        with pytest.raises(DecodeError, match="beyond the end"):
            decode(request.encode(), Limits(index, 20))


def test_what_an_identity_signs_depends_on_round_name_and_both_keys():
    other = PublicKeys(2, keys(2).box_public, keys(3).mask_public)
    another = PublicKeys(2, keys(3).box_public, keys(2).mask_public)
    signed = [
        keys(2).signed_bytes(ROUND, "a"),
        keys(2).signed_bytes(bytes(32), "a"),
        keys(2).signed_bytes(ROUND, "b"),
        other.signed_bytes(ROUND, "a"),
        another.signed_bytes(ROUND, "a"),
    ]
    assert len(set(signed)) == len(signed)


def test_no_share_and_no_box_prints():
    share = RevealedShare(0, ShareKind.SELF_MASK, b"v" * 34)
    for shown in (repr(share), repr(Box(b"v" * 16, b"v" * 16, b"v" * BOX_BYTES))):
        assert "vv" not in shown and b"vv".hex() not in shown


def test_a_share_of_an_unknown_kind_is_refused_as_such():
    share = RevealedShare(0, ShareKind.SELF_MASK, b"v" * 34)
    data = bytearray(UnmaskShares(ROUND, 1, (share,)).encode())
    at = data.index(b"v" * 34) - 1
    for kind in (0, 3, 255):
        data[at] = kind
        with pytest.raises(DecodeError, match="share kind"):
            decode(bytes(data), LIMITS)


def test_the_digest_of_a_key_list_covers_every_key():
    lists = [(keys(0), keys(1)), (keys(0), keys(2)), (keys(0),)]
    swapped = PublicKeys(1, keys(1).mask_public, keys(1).box_public)
    lists.append((keys(0), swapped))
    assert len({KeyList(ROUND, listed).digest() for listed in lists}) == len(lists)
    assert KeyList(bytes(32), lists[0]).digest() != KeyList(ROUND, lists[0]).digest()
