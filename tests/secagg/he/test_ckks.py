"""``ApproximateSum``: right within its bound, and its result stays with the clients."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg.approximate import ApproximateInput, ApproximateTotal
from secagg.approximate_frame import PRIMES, SLOTS, ApproximateFrame
from secagg.errors import (
    AuthenticationError,
    DecodeError,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.he.channel import Channel, digest_of
from secagg.he.ckks import ApproximateSum
from secagg.he.ckks_keys import ApproximateKey
from secagg.he.ckks_result import ClientsOnly
from secagg.he.ckks_round import ApproximateRound, open_upload
from secagg.he.ckks_slots import fill
from secagg.he.ckks_summer import ApproximateSummer
from secagg.keys import Secret
from secagg.prg import simulation_rng

ROOT = Path(__file__).parents[3]
LENGTH = 40
CONTEXT = secagg.context(b"model")
NAMES = [f"site-{i}" for i in range(3)]
WEIGHTS = dict(zip(NAMES, (1, 65535, 812), strict=True))
FRAME = ApproximateFrame(8.0, 65535, 3, LENGTH)
THIS = ApproximateRound(FRAME, b"s", CONTEXT, None)
CHANNEL = Channel("everybody", Secret(b"k" * 32))


def server_of(frame=FRAME, names=("a", "b", "c", "d", "mallory", *NAMES)):
    channels = dict.fromkeys(names, CHANNEL)
    return ApproximateSummer(frame, session=b"s", context=CONTEXT, channels=channels)


def tagged(message):
    """Return the bytes of a message with the right tags."""
    tag = CHANNEL.tag(digest_of(message))
    return replace(message, tags=tag * message.count).encode()


needs_tenseal = pytest.mark.usefixtures("_tenseal")


@pytest.fixture
def _tenseal():
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')


def make_vectors(seed=0, length=LENGTH):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=length).astype(np.float32) for name in NAMES}


def approximate(**change):
    return ApproximateSum(**{"clients": 3, "clip_norm_l2": 8.0} | change)


def play(aggregator, *, seed=b"seed", session=b"s", vectors=None, **change):
    return aggregator.play(
        vectors or make_vectors(),
        WEIGHTS,
        context=CONTEXT,
        session=session,
        seed=seed,
        **change,
    )


def exact_mean(vectors, weights):
    total = sum(vectors[n].astype(np.longdouble) * weights[n] for n in vectors)
    return total / sum(weights.values())


# --- the sum -------------------------------------------------------------------------


@needs_tenseal
@pytest.mark.parametrize("length", [1, SLOTS - 5, SLOTS - 4, 3 * SLOTS])
def test_the_mean_is_within_its_bound_however_the_slots_fall(length):
    vectors = make_vectors(1, length)
    vectors = {n: v * np.float32(7.9 / np.linalg.norm(v)) for n, v in vectors.items()}
    result = play(approximate(), vectors=vectors, seed=None).result.shown_to_clients()
    gap = np.abs(result.mean - exact_mean(vectors, WEIGHTS)).max()
    assert gap <= result.max_error < 1e-9
    assert result.weight == sum(WEIGHTS.values())


@needs_tenseal
def test_noise_of_many_additions_stays_within_the_bound():
    # Few ciphertexts, each many times: worse than as many with noise of their own.
    frame = ApproximateFrame(8.0, 1, 3000, LENGTH)
    this = ApproximateRound(frame, b"s", CONTEXT, None)
    key, server = (
        ApproximateKey(),
        server_of(frame, [f"client-{i}" for i in range(150)]),
    )
    vectors = make_vectors(2)
    sent = {n: this.upload(key, CHANNEL, n, v, 1) for n, v in vectors.items()}
    for i in range(150):
        server.add(f"client-{i}", sent[NAMES[i % 3]])
    total = ApproximateTotal.decode(server.total())
    # The same again, 20 times over: 3000 in all.
    primes = np.array(PRIMES, dtype=object)[:, None, None, None]
    residues = (total.residues().astype(object) * 20 % primes).astype(np.uint64)
    whole = replace(total, count=3000, packed=frame.pack(residues), tags=bytes(96000))
    result = this.open_total(key, CHANNEL, tagged(whole)).shown_to_clients()
    gap = np.abs(result.mean - exact_mean(vectors, dict.fromkeys(NAMES, 1))).max()
    assert gap <= result.max_error and result.weight == 3000


@needs_tenseal
def test_the_bound_on_a_slot_holds_for_the_largest_weights_and_norms():
    frame = ApproximateFrame(2.0**14, 1 << 20, 2, LENGTH)
    key, rng = ApproximateKey(), np.random.default_rng(3)
    vectors = rng.normal(size=(2, LENGTH))
    vectors *= 2.0**14 / np.linalg.norm(vectors, axis=1, keepdims=True)
    slots = [fill(frame, vector, 1 << 20, b"binding") for vector in vectors]
    residues = sum(key.encrypt(one).astype(object) for one in slots)
    residues %= np.array(PRIMES, dtype=object)[:, None, None, None]
    opened = key.decrypt(frame, residues.astype(np.uint64)).shown_to_clients()
    error = frame.sum_error(2, 1 << 21)
    assert np.abs(opened - sum(slots)).max() <= error < 0.01


@needs_tenseal
def test_the_mean_is_that_of_the_exact_sums_within_both_errors():
    weights = dict.fromkeys(NAMES, 3)
    arguments = {"context": CONTEXT, "session": b"s"}
    at_clients = approximate().at_clients()
    one = at_clients.aggregate(make_vectors(), weights, **arguments)
    two = secagg.PlainSum().aggregate(make_vectors(), weights, **arguments)
    assert one.weight == two.weight and at_clients.name == "he-ckks"
    assert np.abs(one.mean - two.mean).max() <= one.max_error + two.max_error


@pytest.mark.parametrize(
    ("weight_max", "clip_norm_l2"), [(1, 1.0), (65535, 16.0), (1, 2.0**30)]
)
def test_one_client_more_than_the_precision_bears_is_refused(weight_max, clip_norm_l2):
    def fits(clients):
        try:
            ApproximateFrame(clip_norm_l2, weight_max, clients, 5)
        except ParameterError as error:
            assert "lower one of them" in str(error)
            return False
        return True

    low, high = 1, 1 << 31
    assert fits(low) and not fits(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    frame = ApproximateFrame(clip_norm_l2, weight_max, low, 5)
    assert frame.sum_error(low, low * weight_max) < 0.25
    assert frame.sum_error(high, high * weight_max) >= 0.25
    # What is refused lies far below what the modulus bears: q / 2.
    assert high * weight_max * frame.reach * 2.0**40 < PRIMES[0] * PRIMES[1] / 2**16


def test_bad_arguments_name_the_client_or_the_cure():
    with pytest.raises(ParameterError, match="too large for the precision"):
        ApproximateSum(clients=1 << 30)
    for change in ({"clients": 0}, {"clip_norm_l2": -1.0}, {"weight_max": 1.5}):
        with pytest.raises(ParameterError):
            approximate(**change)
    with pytest.raises(ParameterError, match="exceed"):
        play(approximate(clients=2))
    long = make_vectors() | {"site-2": np.full(LENGTH, 9, np.float32)}
    with pytest.raises(ParameterError, match=r"'site-2'.*clip"):
        play(approximate(), vectors=long)
    with pytest.raises(ParameterError, match=r"'site-1'.*weight"):
        play(approximate(weight_max=100))
    for change in ({"context": b"short"}, {"session": b""}):
        with pytest.raises(ParameterError):
            replace(THIS, **change)


# --- keys, alterations, contexts -----------------------------------------------------


@needs_tenseal
def test_under_a_wrong_key_or_context_or_altered_nothing_comes_out():
    aggregator = approximate()
    out = play(aggregator)
    data = out.transcript.messages[-1].data
    upload = ApproximateInput.decode(out.transcript.messages[0].data)
    key, this = aggregator._keys.key(b"seed"), replace(THIS, seed=b"seed")
    total = ApproximateTotal.decode(data)
    data = tagged(total)
    assert this.open_total(key, CHANNEL, data).shown_to_clients().weight == 66348
    assert open_upload(key, upload).shown_to_clients().weight == 1
    with pytest.raises(IntegrityError):
        this.open_total(ApproximateKey(), CHANNEL, data)
    for prime, part, point in ((0, 0, 0), (1, 1, 8191), (0, 1, 77)):
        residues = total.residues()
        residues[prime, 0, part, point] ^= np.uint64(1)  # the least change there is
        twin = replace(total, packed=FRAME.pack(residues))
        with pytest.raises(IntegrityError):
            this.open_total(key, CHANNEL, tagged(twin))
    with pytest.raises(IntegrityError):  # one input less than is said
        this.open_total(key, CHANNEL, tagged(replace(total, count=1, tags=bytes(32))))
    for twin in (replace(total, round_id=b"r" * 32), replace(total, context=b"c" * 32)):
        with pytest.raises(DecodeError) as caught:
            this.open_total(key, CHANNEL, tagged(twin))
        assert (caught.value.peer, caught.value.step) == ("server", "unmask")
    with pytest.raises(DecodeError):
        this.open_total(key, CHANNEL, upload.encode())
    with pytest.raises(AuthenticationError) as caught:
        this.open_total(key, Channel("another", Secret(b"k" * 32)), data)
    assert (caught.value.peer, caught.value.step) == ("server", "unmask")


@needs_tenseal
def test_inputs_under_different_contexts_give_no_sum():
    key, vector = ApproximateKey(), make_vectors()["site-0"]
    other = replace(THIS, context=secagg.context(b"another"))
    server = server_of()
    server.add("a", THIS.upload(key, CHANNEL, "a", vector, 5))
    data = other.upload(key, CHANNEL, "b", vector, 5)
    with pytest.raises(RemoteProtocolError, match="another context"):
        server.add("b", data)
    # Passed off as one of the round's: the signs of its checks are others.
    relabelled = replace(ApproximateInput.decode(data), context=CONTEXT)
    server.add("b", tagged(relabelled))
    with pytest.raises(IntegrityError):
        THIS.open_total(key, CHANNEL, server.total())


@needs_tenseal
def test_a_seed_repeats_and_real_randomness_never_does():
    first = play(approximate()).transcript
    assert first == play(approximate()).transcript
    others = [
        play(approximate(), seed=b"2").transcript,
        play(approximate(), session=b"2").transcript,
        play(approximate(), seed=None).transcript,
    ]
    assert all(one != first for one in others)
    same = dict.fromkeys(NAMES, make_vectors()["site-0"])
    for seed in (b"seed", None):
        sent = play(approximate(), seed=seed, vectors=same).transcript.messages[:3]
        ciphertexts = {wire.data[-1000:-32] for wire in sent}  # of c1, drawn afresh
        assert len(ciphertexts) == 3


@needs_tenseal
def test_a_client_who_hands_over_the_key_opens_everybody():
    aggregator = approximate()
    for seed in (None, b"seed"):
        out = play(aggregator, seed=seed, vanish={"site-2": "masked_input"})
        opened = aggregator.opened(out.transcript)
        assert set(opened) == set(NAMES[:2])
        for name, upload in opened.items():
            assert np.abs(upload.vector - make_vectors()[name]).max() < 1e-6
            assert upload.weight == WEIGHTS[name]
    with pytest.raises(LocalProtocolError, match="same process"):
        approximate().opened(out.transcript)


@needs_tenseal
def test_the_server_alone_reads_noise():
    for upload in play(approximate()).transcript.uploads().values():
        assert upload.weight is None and upload.vector.shape == (LENGTH,)
        # Uniform up to 2^19: 40 values that all lie in a tenth of it have
        # probability 10^-40.
        assert 2.0**19 / 10 < np.abs(upload.vector).max() <= 2.0**19


# --- the server ----------------------------------------------------------------------


def random_upload(seed, *, frame=FRAME, this=THIS):
    rng = np.random.default_rng(seed)
    residues = np.stack(
        [rng.integers(0, p, frame.shape[1:], dtype=np.uint64) for p in PRIMES]
    )
    message = ApproximateInput(
        replace(this, frame=frame).round_id,
        this.context,
        frame,
        1,
        frame.pack(residues),
        bytes(32),
    )
    return tagged(message), residues


def test_the_total_is_the_sum_modulo_each_prime():
    server = server_of()
    uploads = [random_upload(seed) for seed in range(3)]
    for name, (data, _) in zip(NAMES, uploads, strict=True):
        server.add(name, data)
    total = ApproximateTotal.decode(server.total())
    assert total.count == 3 and server.added == set(NAMES)
    for j, prime in enumerate(PRIMES):
        exact = sum(residues[j].astype(object) for _, residues in uploads) % prime
        assert np.array_equal(total.residues()[j], exact.astype(np.uint64))


def test_what_is_not_of_the_round_leaves_the_sum_as_it_was():
    server = server_of()
    server.add("a", random_upload(0)[0])
    before = server.total()
    good = random_upload(1)[0]
    strangers = [
        good.replace(b"\x05", b"\x06", 1),
        random_upload(1, frame=replace(FRAME, clients=4))[0],
        random_upload(1, this=replace(THIS, session=b"another"))[0],
        good[:-1],
        good[:-9] + b"\xff" * 9,
        b"",
    ]
    for data in strangers:
        with pytest.raises(RemoteProtocolError) as caught:
            server.add("mallory", data)
        assert (caught.value.peer, caught.value.step) == ("mallory", "masked_input")
        assert server.total() == before
    with pytest.raises(AuthenticationError, match="stranger"):
        server.add("eve", good)
    with pytest.raises(RemoteProtocolError, match="second"):
        server.add("a", good)
    server.add("b", good)
    server.add("c", good)
    with pytest.raises(RemoteProtocolError, match="exceeds"):
        server.add("d", good)
    with pytest.raises(secagg.AbortError):
        server_of().total()


def test_the_server_has_no_place_for_a_key_and_needs_no_tenseal():
    server = server_of()
    assert not hasattr(server, "__dict__")
    with pytest.raises(AttributeError):
        server.key = b"secret"
    program = """
import sys
sys.modules["tenseal"] = None
from secagg.approximate_frame import (ApproximateFrame)
from secagg.he.ckks_summer import ApproximateSummer
ApproximateSummer(ApproximateFrame(1.0, 1, 3, 9), session=b"s", context=bytes(32),
                  channels={})
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


# --- who may see the result ----------------------------------------------------------

LEAKS = [
    bytes,
    list,
    len,
    bool,
    float,
    hash,
    copy.copy,
    copy.deepcopy,
    pickle.dumps,
    np.asarray,
    np.float64,
    memoryview,
    json.dumps,
    lambda held: held == held,
    lambda held: held != 0,
    lambda held: held < 1,
    lambda held: held + 1,
    lambda held: np.zeros(3) + held,
    lambda held: held[0],
    lambda held: 0 in held,
    lambda held: vars(held),
    lambda held: held.__getstate__(),  # of slots; serialisers ask for it
    lambda held: dataclasses.asdict(_Record(held)),
    lambda held: pickle.dumps(_Record(held)),
]


@dataclasses.dataclass
class _Record:
    result: object


@pytest.mark.parametrize("leak", LEAKS)
def test_a_value_for_clients_only_goes_nowhere_else(leak):
    held = ClientsOnly(np.arange(3.0))
    with pytest.raises((LocalProtocolError, TypeError)):
        leak(held)
    assert held.shown_to_clients().tolist() == [0.0, 1.0, 2.0]


def test_a_value_for_clients_only_does_not_print():
    held = ClientsOnly(123.456)
    for text in (repr(held), str(held), f"{held:>9}", repr([held]), "%s" % held):  # noqa: UP031
        assert "123" not in text and "clients only" in text
    with pytest.raises(LocalProtocolError, match="shown_to_clients"):
        pickle.dumps(held)


@needs_tenseal
def test_nothing_that_is_decrypted_leaves_the_type_by_itself():
    aggregator = approximate()
    assert not hasattr(aggregator, "aggregate")  # at_clients() has to be asked for
    assert aggregator.at_clients().clients_only
    out = play(aggregator)
    key = aggregator._keys.key(b"seed")
    this = replace(THIS, seed=b"seed")
    total = ApproximateTotal.decode(out.transcript.messages[-1].data)
    opened = (
        out.result,
        this.open_total(key, CHANNEL, tagged(total)),
        open_upload(key, ApproximateInput.decode(out.transcript.messages[0].data)),
        key.decrypt(FRAME, np.zeros(FRAME.shape, dtype=np.uint64)),
    )
    assert all(type(one) is ClientsOnly for one in opened)
    with pytest.raises(LocalProtocolError):
        pickle.dumps(out)
    assert "clients only" in repr(out) and "0." not in repr(out.result)


@needs_tenseal
def test_keys_never_print_and_are_never_pickled_and_aggregators_go_without():
    key = ApproximateKey(simulation_rng(b"seed", "key"))
    assert repr(key) == "<ApproximateKey, secret>" and not hasattr(key, "__dict__")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(LocalProtocolError):
            attempt(key)
    aggregator = approximate()
    out = play(aggregator)
    for twin in (pickle.loads(pickle.dumps(aggregator)), copy.deepcopy(aggregator)):
        assert twin == aggregator and hash(twin) == hash(aggregator)
        assert play(twin).transcript == out.transcript
    assert len(pickle.dumps(aggregator)) < 400 and "keys" not in repr(aggregator)
