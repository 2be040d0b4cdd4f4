"""``EncryptedSum`` beyond the contract: exactness, the shared key, what stays home."""

import copy
import gc
import pickle
import sys
from dataclasses import replace
from fractions import Fraction
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

import numpy as np
import pytest

import secagg
from secagg.ciphertext import EncryptedInput, EncryptedTotal, Frame
from secagg.errors import (
    AuthenticationError,
    DecodeError,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    SecaggError,
)
from secagg.he import (
    Channel,
    CompactSummer,
    EncryptedSum,
    EncryptedSummer,
    KeyHolder,
    MissingTensealError,
    open_upload,
)
from secagg.he.channel import digest_of
from secagg.he.encrypted import _channels
from secagg.he.inputs import Round, check_offer
from secagg.he.seal import reads_saved
from secagg.invite import SERVER
from secagg.moduli import Scheme

LENGTH = 40
CONTEXT = secagg.context(b"model")
ENCODER = secagg.Encoder(clip_norm_l2=8.0)
NAMES = [f"site-{i}" for i in range(4)]
WEIGHTS = dict(zip(NAMES, (1, 65535, 30, 812), strict=True))
FRAME = Frame(ENCODER, 4, LENGTH)


def make_vectors(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=LENGTH).astype(np.float32) for name in NAMES}


def run(aggregator, *, seed=b"seed", session=b"s", vectors=None, **change):
    return aggregator.aggregate(
        vectors or make_vectors(),
        WEIGHTS,
        context=CONTEXT,
        session=session,
        seed=seed,
        **change,
    )


@pytest.fixture
def encrypted():
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    return EncryptedSum(ENCODER, 4)


def test_the_mean_is_the_exact_integer_sum_of_what_the_clients_encrypted(encrypted):
    out = run(encrypted)
    opened = encrypted.opened(out.transcript)
    scale = Fraction(ENCODER.scale)
    for i in range(LENGTH):
        whole = [round(Fraction(opened[n].vector[i]) * scale) for n in NAMES]
        total = sum(q * WEIGHTS[n] for q, n in zip(whole, NAMES, strict=True))
        mean = total / (scale * sum(WEIGHTS.values()))
        assert out.mean[i] == np.float32(float(mean))
    assert out.weight == sum(WEIGHTS.values())


def test_the_mean_is_that_of_pairwise_masks_within_both_errors(encrypted):
    masked = secagg.PairwiseMask(
        secagg.plan(clients=4, corrupt=1, drop=1, encoder=ENCODER)
    )
    one, two = run(encrypted, seed=None), run(masked, seed=None)
    assert one.weight == two.weight
    assert np.abs(one.mean - two.mean).max() <= one.max_error + two.max_error


def test_a_client_who_hands_over_the_key_opens_everybody(encrypted):
    for seed in (None, b"seed"):
        out = run(encrypted, seed=seed, vanish={"site-3": "masked_input"})
        opened = encrypted.opened(out.transcript)
        assert set(opened) == set(NAMES[:3])
        for name, upload in opened.items():
            gap = np.abs(upload.vector - make_vectors()[name]).max()
            assert gap <= 1 / ENCODER.scale
            assert upload.weight == WEIGHTS[name]


def test_each_transcript_opens_with_its_own_key(encrypted):
    outs = [run(encrypted, seed=seed) for seed in (b"one", b"two", None, b"one")]
    for out in reversed(outs):
        opened = encrypted.opened(out.transcript)
        assert opened["site-1"].weight == WEIGHTS["site-1"]


def test_the_server_alone_reads_noise(encrypted):
    reach = 2.0 ** ENCODER.ring_bits(4) / ENCODER.scale / 2
    for upload in run(encrypted).transcript.uploads().values():
        assert upload.weight is None
        # Uniform over the ring: 40 values that all lie in a tenth of it have
        # probability 10^-40.
        assert reach / 10 < np.abs(upload.vector).max() <= reach


def test_under_a_wrong_key_everything_raises(encrypted):
    wire = run(encrypted).transcript.messages[0]
    message = EncryptedInput.decode(wire.data)
    with pytest.raises(IntegrityError):
        open_upload(KeyHolder(FRAME), message)


def test_one_upload_under_another_key_ends_the_round_and_not_the_server(encrypted):
    channels, this = _channels(NAMES, None), Round(FRAME, b"s", CONTEXT, None)
    server = EncryptedSummer(FRAME, session=b"s", context=CONTEXT, channels=channels)
    holder = KeyHolder(FRAME)
    for name, key in (("site-0", holder), ("site-1", KeyHolder(FRAME))):
        offer = check_offer(FRAME, name, make_vectors()[name], 1)
        server.add(name, this.upload(this.prepare(key, name, channels[name]), offer))
    with pytest.raises(IntegrityError):
        this.open_total(holder, channels["site-0"], server.total())
    assert server.added == {"site-0", "site-1"}


def retagged(channel, message):
    """Return what a server that lies would send: its tags are good."""
    return replace(message, tags=channel.tag(digest_of(message)) * message.count)


def test_an_altered_sum_raises_and_releases_nothing(encrypted):
    out = run(encrypted)
    holder = encrypted._keys.of(out.transcript, FRAME)
    channel = _channels(NAMES, b"seed")["site-1"]
    this = Round(FRAME, b"s", CONTEXT, b"seed")
    data = out.transcript.messages[-1].data
    assert this.open_total(holder, channel, data).weight == out.weight
    with pytest.raises(AuthenticationError) as caught:
        this.open_total(holder, Channel.generate("site-1"), data)
    assert (caught.value.peer, caught.value.step) == (SERVER, "unmask")
    total = EncryptedTotal.decode(data)
    rng = np.random.default_rng(0)
    for at in (0, LENGTH, LENGTH + 1, FRAME.where.words + 7):
        residues = total.residues()
        column = residues[:, at]
        for row, prime in enumerate(FRAME.moduli.primes):
            column[row] = rng.integers(0, prime, dtype=np.uint64)
        twin = replace(total, packed=FRAME.pack(residues))
        with pytest.raises(AuthenticationError):
            this.open_total(holder, channel, twin.encode())
        with pytest.raises(IntegrityError):
            this.open_total(holder, channel, retagged(channel, twin).encode())
    for twin in (
        replace(total, round_id=b"r" * 32),
        replace(total, context=b"c" * 32),
    ):
        with pytest.raises(DecodeError) as caught:
            this.open_total(holder, channel, retagged(channel, twin).encode())
        assert (caught.value.peer, caught.value.step) == (SERVER, "unmask")
    one = EncryptedInput.decode(out.transcript.messages[0].data)
    with pytest.raises(DecodeError):
        this.open_total(holder, channel, one.encode())


def test_inputs_under_different_contexts_give_no_sum(encrypted):
    holder, channel = KeyHolder(FRAME), Channel.generate("a")
    total = np.zeros(FRAME.shape, dtype=np.uint64)
    for name, context in (("a", CONTEXT), ("b", secagg.context(b"another"))):
        this = Round(FRAME, b"s", context, None)
        offer = check_offer(FRAME, name, make_vectors()["site-0"], 5)
        data = this.upload(this.prepare(holder, name, channel), offer)
        total += EncryptedInput.decode(data).residues()
    total %= np.array(FRAME.moduli.primes, dtype=np.uint64)[:, None]
    this = Round(FRAME, b"s", CONTEXT, None)
    packed = FRAME.pack(total)
    forged = EncryptedTotal(this.round_id, CONTEXT, FRAME, 2, packed, bytes(64))
    with pytest.raises(IntegrityError):
        this.open_total(holder, channel, retagged(channel, forged).encode())


# --- seeds, and what stays home ------------------------------------------------------


def test_a_seed_repeats_across_objects_and_real_randomness_never(encrypted):
    other = EncryptedSum(ENCODER, 4)
    assert run(encrypted).transcript == run(other).transcript
    assert run(encrypted).transcript != run(encrypted, seed=b"2").transcript
    assert run(encrypted).transcript != run(encrypted, session=b"2").transcript
    assert run(encrypted, seed=None).transcript != run(encrypted, seed=None).transcript


def test_a_round_never_borrows_the_keys_of_another_seed(encrypted):
    run(encrypted, seed=b"first")
    fresh = EncryptedSum(ENCODER, 4)
    assert run(encrypted, seed=b"2").transcript == run(fresh, seed=b"2").transcript


def test_two_rounds_of_one_seed_share_no_randomness(encrypted):
    outs = [run(encrypted, session=session) for session in (b"1", b"2")]
    first = [out.transcript.messages[0].data for out in outs]
    one, two = (EncryptedInput.decode(data).residues() for data in first)
    assert np.mean(one == two) < 1e-3


def test_two_clients_with_equal_vectors_send_different_ciphertexts(encrypted):
    same = dict.fromkeys(NAMES, make_vectors()["site-0"])
    for seed in (None, b"seed"):
        out = run(encrypted, seed=seed, vectors=same)
        sent = [
            EncryptedInput.decode(wire.data).residues()
            for wire in out.transcript.messages
            if wire.receiver == SERVER
        ]
        for i, one in enumerate(sent):
            for other in sent[:i]:
                assert np.mean(one == other) < 1e-3


def test_pickles_and_copies_carry_no_key_and_still_work(encrypted):
    cloudpickle = pytest.importorskip("cloudpickle")
    out = run(encrypted)
    for twin in (
        pickle.loads(pickle.dumps(encrypted)),
        cloudpickle.loads(cloudpickle.dumps(encrypted)),
        copy.deepcopy(encrypted),
    ):
        assert twin == encrypted and hash(twin) == hash(encrypted)
        with pytest.raises(LocalProtocolError, match="same process"):
            twin.opened(out.transcript)
        assert run(twin).transcript == out.transcript
    assert len(pickle.dumps(encrypted)) < 400
    assert "keys" not in repr(encrypted)


def key_words(holder):
    """Return the secret key as SEAL holds it, shape (primes and special, N)."""
    array = holder._secret.data().dyn_array()
    words = np.fromiter(map(array.at, range(array.size())), dtype="<u8")
    return words.reshape(-1, holder._moduli.degree)


def pieces_in(text, holder):
    """Return what of the key is in some bytes, as it is or packed for the wire."""
    primes = len(holder._moduli.primes)
    return [
        secret[i : i + 8]
        for row in key_words(holder)[:primes]
        for secret in (row.tobytes(), holder._moduli.ring.pack(row))
        for i in range(0, len(secret) - 8, 256)
        if secret[i : i + 8] in text
    ]


def test_the_secret_key_is_in_no_message(encrypted):
    out = run(encrypted, seed=None)
    holder = encrypted._keys.of(out.transcript, FRAME)
    seen = b"".join(wire.data for wire in out.transcript.messages)
    seen += pickle.dumps(encrypted) + repr(encrypted).encode()
    assert not pieces_in(seen, holder)
    planted = holder._moduli.ring.pack(key_words(holder)[0])[100:700]
    assert pieces_in(seen + planted, holder)  # even a little of it would be found


def held_by(root):
    """Return all objects that can be reached from one, but for code."""
    code = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType)
    found, left = {}, [root]
    while left:
        one = left.pop()
        if id(one) not in found and not isinstance(one, code):
            found[id(one)] = one
            left += gc.get_referents(one)
    return list(found.values())


@pytest.mark.parametrize("scheme", Scheme)
def test_nothing_that_the_server_holds_is_or_contains_the_key(scheme):
    api = pytest.importorskip("tenseal.sealapi")
    if scheme is Scheme.COMPACT and not reads_saved():
        pytest.skip("needs Linux, and the package zstandard")
    frame = replace(FRAME, scheme=scheme)
    holder, channels = KeyHolder(frame), _channels(NAMES, None)
    kind = CompactSummer if scheme is Scheme.COMPACT else EncryptedSummer
    server = kind(frame, session=b"s", context=CONTEXT, channels=channels)
    this = Round(frame, b"s", CONTEXT, None)
    for name in NAMES:
        offer = check_offer(frame, name, make_vectors()[name], 1)
        server.add(name, this.upload(this.prepare(holder, name, channels[name]), offer))
    kept = [server.total()]  # all that leaves it, too
    keys = (KeyHolder, api.SecretKey, api.KeyGenerator, api.Decryptor, api.Encryptor)

    def finds():
        held = held_by((server, kept))
        texts = [bytes(one) for one in held if isinstance(one, (bytes, bytearray))]
        texts += [one.tobytes() for one in held if isinstance(one, np.ndarray)]
        assert len(texts) > 3
        of_a_kind = [one for one in held if isinstance(one, keys)]
        return of_a_kind or pieces_in(b"".join(texts), holder)

    assert not finds()
    for planted in (holder, {"deep": [key_words(holder)]}, holder._secret):
        kept.append(planted)
        assert finds()
        kept.pop()


# --- arguments -----------------------------------------------------------------------


def test_bounds_are_checked_at_construction():
    with pytest.raises(ParameterError, match="lower value_bits"):
        EncryptedSum(secagg.Encoder(value_bits=32, weight_max=1 << 20), 1 << 10)
    for clients in (0, 1.5, True):
        with pytest.raises(ParameterError, match="clients"):
            EncryptedSum(ENCODER, clients)
    with pytest.raises(ParameterError, match="encoder"):
        EncryptedSum(None, 4)


def test_bad_arguments_name_the_client_or_the_cure(encrypted):
    few = EncryptedSum(ENCODER, 3)
    with pytest.raises(ParameterError, match="exceed"):
        run(few)
    with pytest.raises(ParameterError, match=r"'site-2'.*clip"):
        long = make_vectors() | {"site-2": np.full(LENGTH, 9, np.float32)}
        run(encrypted, vectors=long)
    for change in ({"context": b"short"}, {"session": b""}, {"session": "text"}):
        arguments = {"context": CONTEXT, "session": b"s"} | change
        with pytest.raises(ParameterError):
            encrypted.aggregate(make_vectors(), WEIGHTS, **arguments)


def test_without_tenseal_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    aggregator = EncryptedSum(ENCODER, 4)  # can be made, sent and compared
    with pytest.raises(MissingTensealError, match=r"blindsum\[he\]") as caught:
        run(aggregator)
    assert isinstance(caught.value, (SecaggError, ImportError))
    assert str(caught.value).count(".") == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [0, 65536])
def test_no_client_brings_a_weight_beyond_what_was_agreed(weight):
    vector = make_vectors()["site-1"]
    assert check_offer(FRAME, "site-1", vector, 65535).weight == 65535
    with pytest.raises(ParameterError, match=r"'site-1'.*weight"):
        check_offer(FRAME, "site-1", vector, weight)
