"""Compact sums: seeds that mean what SEAL draws, exact sums, and nothing for hosts."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg.ciphertext import EncryptedInput, EncryptedTotal, Frame
from secagg.errors import (
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.he import (
    Channel,
    CompactSum,
    CompactSummer,
    KeyHolder,
    UnsupportedPlatformError,
    seal,
)
from secagg.he.channel import digest_of
from secagg.he.compact import _drawn, drawn, whole
from secagg.he.inputs import Round, check_offer
from secagg.he.scaling import add_message
from secagg.moduli import TABLES, Scheme
from secagg.prg import simulation_rng
from tests.secagg.he.blake2x import blake2b_of_one_block, blake2xb

pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
pytest.importorskip("zstandard", reason='needs pip install "blindsum[he]"')
if not seal.reads_saved():
    pytest.skip("compact sums need files in memory", allow_module_level=True)

NARROW = secagg.Encoder(value_bits=16, weight_max=1)
ENCODERS = [NARROW, secagg.Encoder(), secagg.Encoder(value_bits=32, weight_max=1 << 24)]
CONTEXT = secagg.context(b"model")
NAMES = ("a", "b", "c")
CHANNELS = {name: Channel.generate(name) for name in NAMES}


def make_frame(encoder=NARROW, length=30, clients=3):
    return Frame(encoder, clients, length, Scheme.COMPACT)


FRAME = make_frame()


def random_words(frame, seed=0):
    top = 1 << frame.where.ring.bits
    words = np.random.default_rng(seed).integers(0, top, frame.where.words)
    words[:4] = [top - 1, 0, 1, top // 2]
    return words.astype(np.uint64)


def rng(*names):
    return simulation_rng(b"seed", *names)


def server(frame=FRAME):
    return CompactSummer(frame, session=b"s", context=CONTEXT, channels=CHANNELS)


def make_round(frame=FRAME, session=b"s"):
    return Round(frame, session, CONTEXT, None)


def upload(this, holder, name, value=0.25):
    vector = np.full(this.frame.length, value, dtype=np.float32)
    offer = check_offer(this.frame, name, vector, 1)
    return this.upload(this.prepare(holder, name, CHANNELS[name]), offer)


# --- seeds ---------------------------------------------------------------------------


def test_the_oracle_is_blake2b_where_hashlib_knows_it():
    for data in (b"", b"abc", bytes(range(128))):
        plain = struct.pack("<BBBB60x", 64, 0, 1, 1)
        assert blake2b_of_one_block(data, plain) == hashlib.blake2b(data).digest()
        other = struct.pack("<BBBBIQBB46x", 64, 0, 7, 3, 5, 9, 2, 64)
        given = {"fanout": 7, "depth": 3, "leaf_size": 5, "node_offset": 9}
        hashed = hashlib.blake2b(data, **given, node_depth=2, inner_size=64)
        assert blake2b_of_one_block(data, other) == hashed.digest()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_seed_stands_for_the_stream_that_seal_documents(encoder):
    # randomgen.cpp: BLAKE2Xb of a counter under the seed, 4096 bytes at a time;
    # rlwe.cpp: words of 64 bits, reduced, but for the highest ones.
    frame = make_frame(encoder)
    seed = bytes(range(64))
    stream = blake2xb(struct.pack("<Q", 0), seed, 4096, 4)
    words = struct.unpack("<32Q", stream)
    masks = drawn(frame, [[seed]])
    assert masks.shape == (len(frame.moduli.primes), frame.moduli.degree)
    prime = frame.moduli.primes[0]
    top = (1 << 64) - 1 - ((1 << 64) - 1) % prime - 1
    assert max(words) < top  # so none is drawn again
    assert masks[0, :32].tolist() == [word % prime for word in words]
    assert not np.array_equal(masks, drawn(frame, [[bytes(64)]]))


def test_the_masks_of_many_seeds_are_the_sum_of_their_masks():
    frame = make_frame(length=5000)
    seeds = [[bytes([i, j]) * 32 for j in range(2)] for i in range(3)]
    alone = [drawn(frame, [one]).astype(object) for one in seeds]
    assert np.array_equal(drawn(frame, seeds), sum(alone) % frame.moduli.primes[0])


def test_no_seed_is_ever_sent_twice():
    frame = make_frame(length=3 * FRAME.moduli.degree)
    words = random_words(frame)
    holder, seeded = KeyHolder(frame), KeyHolder(frame, rng("keys"))
    sealed = [
        holder.compact_encryptor(frame).encrypt(words),
        holder.compact_encryptor(frame).encrypt(words),
        seeded.compact_encryptor(frame, rng("site-1")).encrypt(words),
        seeded.compact_encryptor(frame, rng("site-2")).encrypt(words),
    ]
    seeds = [seed for _, some in sealed for seed in some]
    assert len(set(seeds)) == len(seeds) == 4 * frame.ciphertexts
    for i, (one, _) in enumerate(sealed):
        for other, _ in sealed[:i]:
            assert np.mean(one == other) < 1e-3
    again = KeyHolder(frame, rng("keys")).compact_encryptor(frame, rng("site-1"))
    assert again.encrypt(words)[1] == sealed[2][1]
    with pytest.raises(LocalProtocolError, match="one upload"):
        again.encrypt(words)


# --- exactness -----------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_sum_of_compact_uploads_is_the_exact_integer_sum_in_the_ring(encoder):
    length = make_frame(encoder).moduli.degree + 1  # in two ciphertexts
    frame = make_frame(encoder, length)
    holder = KeyHolder(frame)
    words = [random_words(frame, seed) for seed in range(3)]
    sealed = [holder.compact_encryptor(frame).encrypt(one) for one in words]
    primes = np.array(frame.moduli.primes, dtype=object)[:, None]
    c0 = sum(one.astype(object) for one, _ in sealed) % primes
    c1 = drawn(frame, [seeds for _, seeds in sealed])
    total = np.concatenate([c0.astype(np.uint64), c1], axis=1)
    opened = holder.decrypt(frame, total).tolist()
    columns = zip(*(one.tolist() for one in words), strict=True)
    assert opened == [sum(column) % 2**frame.where.ring.bits for column in columns]


@pytest.mark.parametrize(("at", "bits"), [(0, 10), (0, 20), (3, 40), (5, 59)])
def test_as_many_additions_as_allowed_decrypt_with_noise_to_spare(at, bits):
    moduli = TABLES[Scheme.COMPACT][at]
    api, where = seal.require_tenseal(), seal.context(moduli, bits)
    key = api.KeyGenerator(where).secret_key()
    times, top = moduli.most_clients(bits), 1 << bits
    words = np.random.default_rng(0).integers(0, top, moduli.degree, dtype=np.uint64)
    words[:2] = [top - 1, top // 2]
    with seal.compact_file() as file:
        zero = api.Encryptor(where, key).encrypt_zero_symmetric()
        c0, seed = seal.zero_with_seed(zero, moduli, file)
        pair = np.stack([c0, _drawn(where, moduli, [seed], file)])
        add_message(pair[0], words, moduli, bits)
        primes = np.array(moduli.primes, dtype=object)[:, None]
        total = (times * pair.astype(object) % primes).astype(np.uint64)
        loaded, opened = seal.load_ciphertext(where, total, file), api.Plaintext()
        assert api.Decryptor(where, key).invariant_noise_budget(loaded) >= 1
        api.Decryptor(where, key).decrypt(loaded, opened)
        read = seal.plain_words(opened, moduli.degree, file)
    assert read.tolist() == [int(w) * times % top for w in words]


def test_an_upload_takes_a_tenth_of_the_bytes_that_float32_and_ckks_take():
    encoder = secagg.Encoder(value_bits=16, weight_max=1)
    frame = make_frame(encoder, length=5_900_000, clients=8)
    assert frame.input_bytes / frame.length < 4.1
    both = replace(frame, scheme=Scheme.PUBLIC)
    assert both.input_bytes / both.length < 10.1


# --- the server ----------------------------------------------------------------------


def test_the_server_adds_what_the_clients_decrypt():
    this, holder, summer = make_round(), KeyHolder(FRAME), server()
    for name, value in zip(NAMES, (0.5, -0.25, 0.125), strict=True):
        summer.add(name, upload(this, holder, name, value))
    decoded = this.open_total(holder, CHANNELS["b"], summer.total())
    assert np.abs(decoded.mean - 0.125).max() <= decoded.max_error
    assert repr(summer) == "<CompactSummer of 3 encrypted inputs>"
    with pytest.raises(ParameterError, match="the other one"):
        server(replace(FRAME, scheme=Scheme.PUBLIC))


def test_hostile_seeds_and_sizes_spoil_nothing_but_their_own_sum():
    this, holder, summer = make_round(), KeyHolder(FRAME), server()
    summer.add("a", upload(this, holder, "a"))
    before = summer.total()
    good = EncryptedInput.decode(upload(this, holder, "b"))

    def signed(body):
        head = good.head()
        digest = hashlib.sha256(head + body).digest()
        return head + body + CHANNELS["b"].tag(digest)

    packed = bytes(good.packed)
    for body in (packed[:-64], packed + bytes(64), packed[:-1], packed[64:], b""):
        with pytest.raises(RemoteProtocolError) as caught:
            summer.add("b", signed(body))
        assert caught.value.peer == "b"
    assert summer.total() == before
    summer.add("b", signed(packed[:-64] + b"\xff" * 64))  # no key of c0's: a wrong sum
    with pytest.raises(IntegrityError):
        this.open_total(holder, CHANNELS["a"], summer.total())


def test_an_upload_under_another_key_or_of_another_round_gives_no_sum():
    this, holder, summer = make_round(), KeyHolder(FRAME), server()
    summer.add("a", upload(this, holder, "a"))
    with pytest.raises(RemoteProtocolError, match="another round"):
        summer.add("b", upload(make_round(session=b"before"), holder, "b"))
    summer.add("b", upload(this, KeyHolder(FRAME), "b"))
    total = EncryptedTotal.decode(summer.total())
    tags = CHANNELS["a"].tag(digest_of(total)) * 2
    with pytest.raises(IntegrityError):
        this.open_total(holder, CHANNELS["a"], replace(total, tags=tags).encode())


def test_a_single_upload_reads_whole():
    this, holder = make_round(), KeyHolder(FRAME)
    message = EncryptedInput.decode(upload(this, holder, "a"))
    assert whole(message).shape == FRAME.shape
    assert np.array_equal(whole(message)[:, : FRAME.where.words], message.residues())


# --- parties and platforms -----------------------------------------------------------


def test_each_scheme_has_its_own_encryptor():
    public = replace(FRAME, scheme=Scheme.PUBLIC)
    with pytest.raises(ParameterError, match="compact_encryptor"):
        KeyHolder(FRAME).encryptor(FRAME)
    with pytest.raises(ParameterError, match="not compact"):
        KeyHolder(public).compact_encryptor(public)
    with pytest.raises(ParameterError, match="KeyHolder for this frame"):
        KeyHolder(public).compact_encryptor(FRAME)
    encryptor = KeyHolder(FRAME).compact_encryptor(FRAME)
    assert repr(encryptor) == "<CompactEncryptor with a secret key>"
    assert not hasattr(encryptor, "decrypt") and not hasattr(encryptor, "__dict__")


@pytest.mark.parametrize("lacking", ["memory", "zstandard"])
def test_where_seeds_cannot_be_read_one_sentence_says_the_cure(lacking, monkeypatch):
    holder = KeyHolder(FRAME)
    if lacking == "memory":
        monkeypatch.delattr("os.memfd_create")
    else:
        monkeypatch.setattr("secagg.he.saved._unpacker", lambda: None)
    seal.reads_saved.cache_clear()
    try:
        updates = {"a": np.zeros(30, np.float32)}
        aggregator = CompactSum(NARROW, 3)  # can be made, sent and compared
        for attempt in (
            server,
            lambda: holder.compact_encryptor(FRAME),
            lambda: drawn(FRAME, [[bytes(64)]]),
            lambda: aggregator.aggregate(
                updates, {"a": 1}, context=CONTEXT, session=b"s"
            ),
        ):
            with pytest.raises(
                UnsupportedPlatformError, match="EncryptedSum"
            ) as caught:
                attempt()
            assert str(caught.value).count(".") == 1
    finally:
        monkeypatch.undo()
        seal.reads_saved.cache_clear()
    assert seal.reads_saved()
