"""The server of an encrypted sum: exact, without a key, and closed to strangers."""

import copy
import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg.ciphertext import EncryptedInput, EncryptedTotal, Frame
from secagg.errors import (
    AbortError,
    AuthenticationError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.he import Channel, EncryptedSummer
from secagg.he.channel import digest_of
from secagg.he.summer import round_id
from secagg.keys import Secret
from secagg.moduli import Scheme

ROOT = Path(__file__).parents[3]
CONTEXT = secagg.context(b"model")
FRAME = Frame(secagg.Encoder(), 3, 9)
CHANNELS = {
    name: Channel(name, Secret(bytes([i]) * 32))
    for i, name in enumerate(("a", "b", "c", "d", "mallory"))
}


def residues(seed, frame=FRAME):
    rng = np.random.default_rng(seed)
    rows = [
        rng.integers(0, p, frame.shape[1], dtype=np.uint64) for p in frame.moduli.primes
    ]
    return np.stack(rows)


def tagged(name, message):
    tag = CHANNELS[name].tag(digest_of(message))
    return replace(message, tags=tag).encode()


def message(name, seed, *, frame=FRAME, session=b"s", context=CONTEXT, packed=None):
    packed = packed or frame.pack(residues(seed, frame))
    named = round_id(frame, session)
    return tagged(name, EncryptedInput(named, context, frame, 1, packed, bytes(32)))


def summer(frame=FRAME):
    return EncryptedSummer(frame, session=b"s", context=CONTEXT, channels=CHANNELS)


@pytest.mark.parametrize(
    ("value_bits", "weight_max"), [(16, 1), (24, 65535), (32, 1 << 24)]
)
def test_the_total_is_the_sum_modulo_each_prime(value_bits, weight_max):
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    frame = Frame(encoder, 3, 9)
    server = summer(frame)
    for seed, name in enumerate("abc"):
        server.add(name, message(name, seed, frame=frame))
    total = EncryptedTotal.decode(server.total())
    assert total.count == 3 and server.added == {"a", "b", "c"}
    for j, prime in enumerate(frame.moduli.primes):
        rows = [residues(seed, frame)[j].tolist() for seed in range(3)]
        expected = [sum(column) % prime for column in zip(*rows, strict=True)]
        assert total.residues()[j].tolist() == expected


def test_more_uploads_than_a_word_holds_are_reduced_on_the_way():
    frame = Frame(secagg.Encoder(weight_max=255), 40, 3)
    prime = frame.moduli.primes[0]
    assert 40 * (prime - 1) > 1 << 64
    top = np.full(frame.shape, prime - 1, dtype=np.uint64)
    channels = {f"c{i}": Channel.generate(f"c{i}") for i in range(40)}
    server = EncryptedSummer(frame, session=b"s", context=CONTEXT, channels=channels)
    named = round_id(frame, b"s")
    one = EncryptedInput(named, CONTEXT, frame, 1, frame.pack(top), bytes(32))
    for name, channel in channels.items():
        server.add(name, replace(one, tags=channel.tag(digest_of(one))).encode())
    total = EncryptedTotal.decode(server.total()).residues()
    assert (total == prime - 40).all()  # -1 forty times


@pytest.mark.parametrize(
    "change",
    [
        {"session": b"another round"},
        {"context": secagg.context(b"another model")},
        {"frame": Frame(secagg.Encoder(), 3, 8)},
        {"frame": Frame(secagg.Encoder(), 4, 9)},
        {"frame": Frame(secagg.Encoder(clip_norm_l2=2.0), 3, 9)},
    ],
)
def test_an_upload_of_another_round_is_refused_with_peer_and_step(change):
    server = summer()
    server.add("a", message("a", 0))
    before = server.total()
    with pytest.raises(RemoteProtocolError) as caught:
        server.add("mallory", message("mallory", 1, **change))
    assert (caught.value.peer, caught.value.step) == ("mallory", "masked_input")
    assert server.total() == before and server.added == {"a"}


def test_no_peer_adds_twice_and_no_more_than_agreed_add():
    server = summer()
    server.add("a", message("a", 0))
    for peer, data in (("a", message("a", 1)), ("a", message("a", 0))):
        with pytest.raises(RemoteProtocolError, match="second"):
            server.add(peer, data)
    server.add("b", message("b", 1))
    server.add("c", message("c", 2))
    with pytest.raises(RemoteProtocolError, match="exceeds"):
        server.add("d", message("d", 3))


def hostile():
    """Return uploads of a client that holds its channel's key, and breaks the rest."""
    good = residues(1)
    unreduced = good.copy()
    unreduced[0, 3] = FRAME.moduli.primes[0]
    whole = EncryptedInput.decode(message("b", 1))
    head = whole.head()

    def signed(body):
        covered = hashlib.sha256(head + body).digest()
        return head + body + CHANNELS["b"].tag(covered)

    packed = bytes(whole.packed)
    return {
        "not reduced": message("b", 1, packed=FRAME.pack(unreduced)),
        "no ciphertext at all": signed(b""),
        "one ciphertext short": signed(packed[: len(packed) // 2]),
        "one byte short": signed(packed[:-1]),
        "one byte long": signed(packed + b"\0"),
        "ten times as long": signed(packed * 10),
        "sum in place of an input": tagged(
            "b",
            EncryptedTotal(whole.round_id, CONTEXT, FRAME, 1, packed, bytes(32)),
        ),
    }


@pytest.mark.parametrize("name", hostile())
def test_what_a_hostile_client_sends_leaves_the_sum_as_it_was(name):
    server = summer()
    server.add("a", message("a", 0))
    before = server.total()
    data = hostile()[name]
    with pytest.raises(RemoteProtocolError) as caught:
        server.add("b", data)
    assert (caught.value.peer, caught.value.step) == ("b", "masked_input")
    assert server.total() == before
    server.add("b", message("b", 1))  # alive, and not held against the client
    assert server.added == {"a", "b"}


def test_what_was_altered_on_its_way_is_refused_before_it_is_read(monkeypatch):
    server = summer()
    server.add("a", message("a", 0))
    before, good = server.total(), message("b", 1)
    rng = np.random.default_rng(0)
    flips = [bytearray(good) for _ in range(40)]
    for i, flip in enumerate(flips):
        at = i if i < 4 else int(rng.integers(0, len(good)))
        flip[at] ^= 1 << int(rng.integers(0, 8))
    twins = [*map(bytes, flips), b"", good[:31], good[:-1], good + b"\0", good[:-32]]
    monkeypatch.setattr(EncryptedInput, "decode", None)
    for twin in twins:
        with pytest.raises(AuthenticationError, match="altered") as caught:
            server.add("b", twin)
        assert (caught.value.peer, caught.value.step) == ("b", "masked_input")
    assert server.total() == before and server.added == {"a"}


def test_no_client_can_send_for_another_and_no_stranger_at_all():
    server = summer()
    for peer, data in (("b", message("a", 0)), ("nobody", message("a", 0))):
        with pytest.raises(AuthenticationError) as caught:
            server.add(peer, data)
        assert caught.value.peer == peer
    assert server.added == frozenset()


def test_a_sum_carries_one_tag_for_each_client_in_it_and_none_for_others():
    server = summer()
    server.add("a", message("a", 0))
    server.add("c", message("c", 1))
    total = EncryptedTotal.decode(server.total())
    for name, channel in CHANNELS.items():
        if name in ("a", "c"):
            channel.check_total(total)
            altered = bytearray(total.packed)
            altered[5] ^= 1
            twins = [
                replace(total, packed=bytes(altered)),
                replace(total, round_id=b"r" * 32),
                replace(total, tags=total.tags[::-1]),
            ]
        else:
            twins = [total]
        for twin in twins:
            with pytest.raises(AuthenticationError, match="no tag"):
                channel.check_total(twin)


def test_a_channel_is_closed():
    channel = CHANNELS["a"]
    assert repr(channel) == "<Channel of a secret key>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(LocalProtocolError):
            attempt(channel)
    for secret in (bytes(32), Secret(bytes(31)), None):
        with pytest.raises(ParameterError, match="32 bytes"):
            Channel("a", secret)
    # The name is in the key, and fresh ones differ.
    same = Secret(bytes([1]) * 32)
    tags = {Channel("a", same).tag(b""), Channel("b", same).tag(b"")}
    tags |= {Channel.generate("a").tag(b""), Channel.generate("a").tag(b"")}
    assert len(tags) == 4


def test_without_uploads_there_is_no_total():
    with pytest.raises(AbortError) as caught:
        summer().total()
    assert (caught.value.need, caught.value.have) == (1, 0)


def test_a_frame_of_seeds_is_for_another_server():
    with pytest.raises(ParameterError, match="the other one"):
        summer(Frame(secagg.Encoder(), 3, 9, Scheme.COMPACT))


def test_the_server_has_no_place_for_a_key_and_needs_no_tenseal():
    server = summer()
    assert not hasattr(server, "__dict__")
    assert not [name for name in dir(server) if "key" in name or "secret" in name]
    with pytest.raises(AttributeError):
        server.key = b"secret"
    given = {"session": b"s", "context": CONTEXT, "channels": CHANNELS}
    with pytest.raises(TypeError):
        EncryptedSummer(FRAME, **given, key=b"secret")
    assert repr(server) == "<EncryptedSummer of 0 encrypted inputs>"
    program = """
import sys
sys.modules["tenseal"] = None
import secagg, secagg.he
from secagg.ciphertext import Frame
frame = Frame(secagg.Encoder(), 3, 9)
secagg.he.EncryptedSummer(frame, session=b"s", context=bytes(32), channels={})
assert not [name for name in sys.modules if "seal" in name and "secagg" not in name
            and sys.modules[name] is not None]
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
