"""Keys and encryption: exact, randomised, closed to other keys, with noise to spare."""

import copy
import math
import os
import pickle
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.ciphertext import Frame
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import KeyHolder, seal
from secagg.he.scaling import add_message
from secagg.moduli import TABLES, Scheme
from secagg.prg import simulation_rng

pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')

NARROW = secagg.Encoder(value_bits=16, weight_max=1)
DEFAULT = secagg.Encoder()
WIDE = secagg.Encoder(value_bits=32, weight_max=1 << 24)
PUBLIC_KEY, SECRET_KEY = TABLES[Scheme.PUBLIC], TABLES[Scheme.COMPACT]
HALF = Fraction(1, 2)
ENCODERS = [NARROW, DEFAULT, WIDE]


def full(encoder, clients=4):
    """Length that fills one ciphertext, with its weight and checksums."""
    where = Frame(encoder, clients, 1)
    return where.moduli.degree - where.where.words + 1


def rng(*names):
    return simulation_rng(b"seed", *names)


def random_words(frame, seed=0):
    top = 1 << frame.where.ring.bits
    generator = np.random.default_rng(seed)
    words = generator.integers(0, top, frame.where.words, dtype=np.uint64)
    words[:4] = [top - 1, 0, 1, top // 2]  # the extremes, and a wrap of the sum
    return words


def modulo_sum(frame, rows):
    """Add coefficients modulo their primes, in Python integers."""
    return np.array(
        [
            [
                sum(column) % p
                for column in zip(*(r[j].tolist() for r in rows), strict=True)
            ]
            for j, p in enumerate(frame.moduli.primes)
        ],
        dtype=np.uint64,
    )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_encrypted_is_decrypted(encoder):
    holder = KeyHolder(Frame(encoder, 4, 1))
    for length in (1, full(encoder), full(encoder) + 1, 9000):
        frame = Frame(encoder, 4, length)
        words = random_words(frame)
        sealed = holder.encryptor(frame).encrypt(words)
        assert sealed.shape == frame.shape
        assert np.array_equal(holder.decrypt(frame, sealed), words)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_sum_of_ciphertexts_is_the_exact_integer_sum_in_the_ring(encoder):
    frame = Frame(encoder, 5, 30)
    holder = KeyHolder(frame)
    words = [random_words(frame, seed) for seed in range(5)]
    sealed = [holder.encryptor(frame).encrypt(one) for one in words]
    opened = holder.decrypt(frame, modulo_sum(frame, sealed)).tolist()
    columns = zip(*(one.tolist() for one in words), strict=True)
    assert opened == [sum(column) % 2**frame.where.ring.bits for column in columns]


@settings(max_examples=15, deadline=None)
@given(
    words=st.lists(st.integers(0, (1 << 60) - 1), min_size=4, max_size=9),
    at=st.integers(0, 1 << 20),
)
def test_any_words_survive_and_one_altered_coefficient_does_not(words, at):
    frame = Frame(DEFAULT, 3, len(words) - 3)
    holder, count = KeyHolder(frame, rng("property")), len(words)
    given_words = np.array(words, dtype=np.uint64) >> np.uint64(
        60 - frame.where.ring.bits
    )
    sealed = holder.encryptor(frame).encrypt(given_words)
    assert np.array_equal(holder.decrypt(frame, sealed), given_words)
    twin = sealed.copy()
    prime = np.uint64(frame.moduli.primes[0])
    twin[0, at % count] = (twin[0, at % count] + prime // np.uint64(2)) % prime
    assert not np.array_equal(holder.decrypt(frame, twin), given_words)


def pair(sealed, degree):
    """Return c0 and c1 of a full ciphertext as SEAL holds them."""
    return np.stack([sealed[:, :degree], sealed[:, degree:]])


def test_addition_is_that_of_seal():
    api = seal.require_tenseal()
    frame = Frame(DEFAULT, 3, full(DEFAULT, 3))
    moduli, bits = frame.moduli, frame.where.ring.bits
    where = seal.context(moduli, bits)
    holder = KeyHolder(frame)
    sealed = [holder.encryptor(frame).encrypt(random_words(frame, i)) for i in range(3)]
    loaded = [seal.load_ciphertext(where, pair(s, moduli.degree)) for s in sealed]
    total = api.Ciphertext()
    api.Evaluator(where).add_many(loaded, total)
    theirs = np.concatenate(seal.cipher_words(total, moduli, None), axis=1)
    assert np.array_equal(theirs, modulo_sum(frame, sealed))


WIDEST = [  # bits that leave few clients to some moduli, and the least noise unused
    (PUBLIC_KEY[0], 10),
    (PUBLIC_KEY[1], 24),
    (PUBLIC_KEY[3], 36),
    (PUBLIC_KEY[5], 59),
]


@pytest.mark.parametrize(("moduli", "bits"), WIDEST)
def test_as_many_additions_as_allowed_decrypt_with_noise_to_spare(moduli, bits):
    api, where = seal.require_tenseal(), seal.context(moduli, bits)
    clients = min(1000, moduli.most_clients(bits))
    keys = api.KeyGenerator(where)
    public, zero = api.PublicKey(), api.Ciphertext()
    keys.create_public_key(public)
    top = 1 << bits
    rng = np.random.default_rng(0)
    words = rng.integers(0, top, (4, moduli.degree), dtype=np.uint64)
    words[:, :2] = [top - 1, top // 2]
    total, expected = 0, 0
    primes = np.array(moduli.primes, dtype=object)[:, None]
    for i, one in enumerate(words):  # a quarter of the sum: worse than fresh ones
        times = clients // 4 + (i < clients % 4)
        api.Encryptor(where, public).encrypt_zero(zero)
        sealed = seal.cipher_words(zero, moduli, None).copy()
        add_message(sealed[0], one, moduli, bits)
        total = (total + times * sealed.astype(object)) % primes
        expected = expected + times * one.astype(object)
    total = seal.load_ciphertext(where, total.astype(np.uint64))
    decryptor, opened = api.Decryptor(where, keys.secret_key()), api.Plaintext()
    assert decryptor.invariant_noise_budget(total) >= 1
    decryptor.decrypt(total, opened)
    read = seal.plain_words(opened, moduli.degree, None)
    assert read.tolist() == [x % top for x in expected]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_message_is_scaled_as_the_fraction_says(data):
    moduli = data.draw(st.sampled_from([*PUBLIC_KEY, *SECRET_KEY]))
    most = max(r for r in range(1, 60) if moduli.most_clients(r))
    bits = data.draw(st.integers(1, most))
    words = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1))
    words += [0, (1 << bits) - 1, 1 << (bits - 1)]
    rng = np.random.default_rng(len(words))
    c0 = [rng.integers(0, p, len(words), dtype=np.uint64) for p in moduli.primes]
    sums = np.stack(c0)
    add_message(sums, np.array(words, dtype=np.uint64), moduli, bits)
    for row, before, prime in zip(sums, c0, moduli.primes, strict=True):
        scaled = [floor(Fraction(moduli.modulus * m, 1 << bits) + HALF) for m in words]
        both = zip(before.tolist(), scaled, strict=True)
        assert row.tolist() == [(a + b) % prime for a, b in both]


@pytest.mark.parametrize(
    ("moduli", "bits"), [(PUBLIC_KEY[1], 20), (PUBLIC_KEY[3], 43), (PUBLIC_KEY[5], 59)]
)
def test_a_ciphertext_is_the_one_that_seal_makes_of_the_same_randomness(moduli, bits):
    api = seal.require_tenseal()
    where = seal.seeded_context(moduli, bits, bytes(range(64)))
    public = api.PublicKey()
    api.KeyGenerator(where).create_public_key(public)
    words = np.random.default_rng(0).integers(0, 1 << bits, 30, dtype=np.uint64)
    terms = [f"{int(w):X}x^{i}" for i, w in enumerate(words) if i]
    plain = api.Plaintext(" + ".join([*reversed(terms), f"{int(words[0]):X}"]))
    whole, zero = api.Ciphertext(), api.Ciphertext()
    api.Encryptor(where, public).encrypt(plain, whole)
    api.Encryptor(where, public).encrypt_zero(zero)
    ours = seal.cipher_words(zero, moduli, None).copy()
    add_message(ours[0][:, :30], words, moduli, bits)
    assert np.array_equal(ours, seal.cipher_words(whole, moduli, None))


def test_what_seal_saves_is_what_it_holds():
    # The quick way against the slow one; without its package there is the slow one.
    moduli, api = PUBLIC_KEY[4], seal.require_tenseal()
    where = seal.context(moduli, 40)
    keys, public = api.KeyGenerator(where), api.PublicKey()
    keys.create_public_key(public)
    zero, opened = api.Ciphertext(), api.Plaintext("7x^3 + 1")
    api.Encryptor(where, public).encrypt(opened, zero)
    with seal.working_file() as file:
        quick = seal.cipher_words(zero, moduli, file)
        assert np.array_equal(quick, seal.cipher_words(zero, moduli, None))
        loaded = seal.load_ciphertext(where, quick, file)
        api.Decryptor(where, keys.secret_key()).decrypt(loaded, opened)
        for count in (2, 4, 9):
            words = seal.plain_words(opened, count, file)
            assert words.tolist() == [1, 0, 0, 7, 0, 0, 0, 0, 0][:count]
    if find_spec("zstandard") and hasattr(os, "memfd_create"):
        assert seal.reads_saved()


def test_the_moduli_are_those_that_seal_makes_and_accepts_at_128_bits():
    api = seal.require_tenseal()
    for moduli in (*PUBLIC_KEY, *SECRET_KEY):
        primes = (*moduli.primes, *(() if not moduli.special else (moduli.special,)))
        sizes = [prime.bit_length() for prime in primes]
        made = api.CoeffModulus.Create(moduli.degree, sizes)
        assert [one.value() for one in made] == list(primes)
        assert seal.context(moduli, 20).parameters_set()
        most = api.CoeffModulus.MaxBitCount(moduli.degree, api.SEC_LEVEL_TYPE.TC128)
        assert math.prod(primes).bit_length() <= most


def test_weaker_parameters_are_refused():
    too_large = replace(PUBLIC_KEY[4], special=PUBLIC_KEY[3].special)
    with pytest.raises(ParameterError, match="SEAL refuses"):
        seal.context(too_large, 46)


# --- randomness ----------------------------------------------------------------------

FRAME = Frame(DEFAULT, 3, 30)


def test_two_encryptions_of_equal_words_share_nothing():
    # Planted: SEAL restarts the stream of a seeded context at each encryption, so one
    # context for two of them would make them equal.
    frame = Frame(DEFAULT, 3, 2 * Frame(DEFAULT, 3, 1).moduli.degree)
    words = np.zeros(frame.where.words, dtype=np.uint64)
    holder = KeyHolder(frame, rng("keys"))
    sealed = [
        holder.encryptor(frame, source).encrypt(words)
        for source in (None, None, rng("site-1"), rng("site-2"))
    ]
    masks = [
        one[:, at : at + frame.moduli.degree].tobytes()
        for one in sealed
        for at in range(len(words), frame.shape[1], frame.moduli.degree)
    ]
    assert len(set(masks)) == 4 * 3
    for i, one in enumerate(sealed):
        for other in sealed[:i]:
            assert np.mean(one == other) < 1e-3


def test_a_context_with_one_seed_would_repeat_the_randomness():
    bits = FRAME.where.ring.bits
    api = seal.require_tenseal()
    seeded = seal.seeded_context(FRAME.moduli, bits, bytes(range(64)))
    twins = [api.Ciphertext(), api.Ciphertext()]
    public = api.PublicKey()
    api.KeyGenerator(seeded).create_public_key(public)
    for twin in twins:
        api.Encryptor(seeded, public).encrypt_zero(twin)
    one, two = (seal.cipher_words(twin, FRAME.moduli, None) for twin in twins)
    assert np.array_equal(one, two)  # hence Encryptor takes a context per ciphertext


def test_a_seeded_encryptor_serves_one_upload_only():
    words = random_words(FRAME)
    encryptor = KeyHolder(FRAME).encryptor(FRAME, rng("once"))
    encryptor.encrypt(words)
    with pytest.raises(LocalProtocolError, match="one upload"):
        encryptor.encrypt(words)


def test_a_seed_repeats_keys_and_ciphertexts_and_the_operating_system_does_not():
    words = random_words(FRAME)

    def run(seeded):
        names = ("keys", "client") if seeded else (None, None)
        holder = KeyHolder(FRAME, names[0] and rng(names[0]))
        return holder.encryptor(FRAME, names[1] and rng(names[1])).encrypt(words)

    assert np.array_equal(run(True), run(True))
    assert not np.array_equal(run(False), run(False))


# --- trust ---------------------------------------------------------------------------


def test_another_key_opens_nothing():
    words = random_words(FRAME)
    sealed = KeyHolder(FRAME).encryptor(FRAME).encrypt(words)
    assert np.mean(KeyHolder(FRAME).decrypt(FRAME, sealed) == words) < 0.1


def test_keys_never_print_and_are_never_pickled_or_copied():
    holder = KeyHolder(FRAME)
    encryptor = holder.encryptor(FRAME)
    assert repr(holder) == "<KeyHolder of a secret key>"
    assert repr(encryptor) == "<Encryptor with a public key>"
    for one in (holder, encryptor):
        assert not hasattr(one, "__dict__")
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(LocalProtocolError):
                attempt(one)
    assert not hasattr(encryptor, "decrypt")
    held = [getattr(encryptor, name) for name in encryptor.__slots__]
    assert not [h for h in held if type(h).__name__ in ("SecretKey", "KeyHolder")]


def test_misuse_is_refused():
    holder = KeyHolder(FRAME)
    with pytest.raises(ParameterError, match="KeyHolder for this frame"):
        holder.encryptor(Frame(WIDE, 3, 30))
    with pytest.raises(ParameterError, match="shape"):
        holder.encryptor(FRAME).encrypt(np.zeros(3, dtype=np.uint64))


def test_a_ciphertext_also_loads_from_a_file_where_there_is_no_memory_file(
    monkeypatch,
):
    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setattr(seal, "reads_saved", lambda: False)
    words = random_words(FRAME)
    holder = KeyHolder(FRAME)
    assert np.array_equal(
        holder.decrypt(FRAME, holder.encryptor(FRAME).encrypt(words)), words
    )


def test_seeded_keys_and_ciphertexts_never_draw_from_one_seed_twice(monkeypatch):
    # A SEAL context starts each sampling from its seed, so one that served two would
    # draw, say, the public key's polynomials from the stream of the secret key.
    seeds, frame = [], Frame(NARROW, 4, full(NARROW) + 1)
    seeded_context = seal.seeded_context

    def watched(moduli, ring_bits, fresh):
        seeds.append(fresh)
        return seeded_context(moduli, ring_bits, fresh)

    monkeypatch.setattr(seal, "seeded_context", watched)
    encryptor = KeyHolder(frame, rng("keys")).encryptor(frame, rng("upload"))
    encryptor.encrypt(random_words(frame))
    assert len(seeds) == len(set(seeds)) == 2 + frame.ciphertexts
