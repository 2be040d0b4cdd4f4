"""The server of an encrypted sum: exact, without a key, and closed to strangers."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg.ciphertext import EncryptedInput, EncryptedTotal, Frame
from secagg.errors import AbortError, RemoteProtocolError
from secagg.he import Summer
from secagg.he.summer import round_id

ROOT = Path(__file__).parents[3]
CONTEXT = secagg.context(b"model")
FRAME = Frame(secagg.Encoder(), 3, 9)


def residues(seed, frame=FRAME):
    rng = np.random.default_rng(seed)
    rows = [
        rng.integers(0, p, frame.shape[1], dtype=np.uint64) for p in frame.moduli.primes
    ]
    return np.stack(rows)


def message(seed, *, frame=FRAME, session=b"s", context=CONTEXT):
    packed = frame.pack(residues(seed, frame))
    sealed = EncryptedInput(round_id(frame, session), context, frame, 1, packed)
    return sealed.encode()


def summer(frame=FRAME):
    return Summer(frame, session=b"s", context=CONTEXT)


@pytest.mark.parametrize(
    ("value_bits", "weight_max"), [(16, 1), (24, 65535), (32, 1 << 24)]
)
def test_the_total_is_the_sum_modulo_each_prime(value_bits, weight_max):
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    frame = Frame(encoder, 3, 9)
    server = summer(frame)
    for seed, name in enumerate("abc"):
        server.add(name, message(seed, frame=frame))
    total = EncryptedTotal.decode(server.total())
    assert total.count == 3 and server.added == {"a", "b", "c"}
    for j, prime in enumerate(frame.moduli.primes):
        rows = [residues(seed, frame)[j].tolist() for seed in range(3)]
        expected = [sum(column) % prime for column in zip(*rows, strict=True)]
        assert total.residues()[j].tolist() == expected


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
    server.add("a", message(0))
    before = server.total()
    with pytest.raises(RemoteProtocolError) as caught:
        server.add("mallory", message(1, **change))
    assert (caught.value.peer, caught.value.step) == ("mallory", "masked_input")
    assert server.total() == before and server.added == {"a"}


def test_no_peer_adds_twice_and_no_more_than_agreed_add():
    server = summer()
    server.add("a", message(0))
    for peer, data in (("a", message(1)), ("a", message(0))):
        with pytest.raises(RemoteProtocolError, match="second"):
            server.add(peer, data)
    server.add("b", message(1))
    server.add("c", message(2))
    with pytest.raises(RemoteProtocolError, match="exceeds"):
        server.add("d", message(3))


def test_an_unreduced_or_truncated_upload_leaves_the_sum_as_it_was():
    server = summer()
    server.add("a", message(0))
    before = server.total()
    for data in (message(1)[:-1], message(1)[:-9] + b"\xff" * 9, b""):
        with pytest.raises(RemoteProtocolError) as caught:
            server.add("b", data)
        assert caught.value.peer == "b"
    assert server.total() == before


def test_without_uploads_there_is_no_total():
    with pytest.raises(AbortError) as caught:
        summer().total()
    assert (caught.value.need, caught.value.have) == (1, 0)


def test_the_server_has_no_place_for_a_key_and_needs_no_tenseal():
    server = summer()
    assert not hasattr(server, "__dict__")
    assert not [name for name in dir(server) if "key" in name or "secret" in name]
    with pytest.raises(AttributeError):
        server.key = b"secret"
    with pytest.raises(TypeError):
        Summer(FRAME, session=b"s", context=CONTEXT, key=b"secret")
    assert repr(server) == "<Summer of 0 encrypted inputs>"
    assert pickle.loads(pickle.dumps(server)).added == frozenset()
    program = """
import sys
sys.modules["tenseal"] = None
import secagg, secagg.he
from secagg.ciphertext import Frame
secagg.he.Summer(Frame(secagg.Encoder(), 3, 9), session=b"s", context=bytes(32))
assert not [name for name in sys.modules if "seal" in name and "secagg" not in name
            and sys.modules[name] is not None]
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
