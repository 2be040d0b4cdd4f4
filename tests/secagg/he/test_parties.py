"""Keys and encryption: exact, randomised, closed to other keys, with noise to spare."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.ciphertext import MODULI, POLY_DEGREE, Frame
from secagg.errors import LocalProtocolError, ParameterError
from secagg.he import KeyHolder, seal
from secagg.prg import simulation_rng

pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')

NARROW = secagg.Encoder(value_bits=16, weight_max=1)
DEFAULT = secagg.Encoder()
WIDE = secagg.Encoder(value_bits=32, weight_max=1 << 24)
ENCODERS = [NARROW, DEFAULT, WIDE]
FULL = (
    POLY_DEGREE - 3
)  # with weight and two checksums: one ciphertext, no slot to spare


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


@pytest.mark.parametrize("length", [1, FULL, FULL + 1, 9000])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_encrypted_is_decrypted(encoder, length):
    frame = Frame(encoder, 4, length)
    holder = KeyHolder(frame)
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


def test_addition_is_that_of_seal():
    api = seal.require_tenseal()
    frame = Frame(DEFAULT, 3, FULL)
    moduli, bits = frame.moduli, frame.where.ring.bits
    where = seal.context(moduli, bits)
    holder = KeyHolder(frame)
    sealed = [holder.encryptor(frame).encrypt(random_words(frame, i)) for i in range(3)]
    loaded = [
        seal.load_ciphertext(
            where, np.stack([one[:, :POLY_DEGREE], one[:, POLY_DEGREE:]])
        )
        for one in sealed
    ]
    total = api.Ciphertext()
    api.Evaluator(where).add_many(loaded, total)
    theirs = np.concatenate(seal.cipher_words(total, moduli, POLY_DEGREE), axis=1)
    assert np.array_equal(theirs, modulo_sum(frame, sealed))


@pytest.mark.parametrize(
    ("value_bits", "weight_max", "ring_bits"),
    [(22, 1, 32), (24, 1 << 12, 46), (24, 65535, 50), (32, 1 << 17, 59)],
)
def test_after_a_thousand_additions_noise_budget_is_left(
    value_bits, weight_max, ring_bits
):
    # At the widest ring of each modulus, where the least noise is left.
    encoder = secagg.Encoder(value_bits=value_bits, weight_max=weight_max)
    assert encoder.ring_bits(1000) == ring_bits
    api = seal.require_tenseal()
    extra = -(-64 // encoder.ring_bits(1000))
    frame = Frame(encoder, 1000, POLY_DEGREE - 1 - extra)
    where = seal.context(frame.moduli, frame.where.ring.bits)
    holder = KeyHolder(frame)
    total = seal.load_ciphertext(
        where, np.zeros((2, frame.shape[0], POLY_DEGREE), dtype=np.uint64)
    )
    for i in range(4):  # each 250 times: worse than 1000 of independent noise
        sealed = holder.encryptor(frame).encrypt(random_words(frame, i))
        pair = np.stack([sealed[:, :POLY_DEGREE], sealed[:, POLY_DEGREE:]])
        one = seal.load_ciphertext(where, pair)
        for _ in range(250):
            api.Evaluator(where).add_inplace(total, one)
    left = api.Decryptor(where, holder._secret).invariant_noise_budget(total)
    assert left >= 8
    opened = api.Plaintext()
    api.Decryptor(where, holder._secret).decrypt(total, opened)
    expected = sum(random_words(frame, i).astype(object) * 250 for i in range(4))
    words = seal.plain_words(opened, frame.where.words)
    assert words.tolist() == [x % 2**frame.where.ring.bits for x in expected]


def test_the_moduli_are_those_that_seal_makes_and_accepts_at_128_bits():
    api = seal.require_tenseal()
    for moduli in MODULI:
        primes = (*moduli.primes, moduli.special)
        sizes = [prime.bit_length() for prime in primes]
        made = api.CoeffModulus.Create(POLY_DEGREE, sizes)
        assert [one.value() for one in made] == list(primes)
        assert seal.context(moduli, moduli.ring_bits).parameters_set()
    assert api.CoeffModulus.MaxBitCount(POLY_DEGREE, api.SEC_LEVEL_TYPE.TC128) == 109


def test_weaker_parameters_are_refused():
    too_large = MODULI[1].__class__(46, MODULI[1].primes, MODULI[0].special)
    with pytest.raises(ParameterError, match="SEAL refuses"):
        seal.context(too_large, 46)


# --- randomness ----------------------------------------------------------------------

FRAME = Frame(DEFAULT, 3, 30)


def test_two_encryptions_of_equal_words_share_nothing():
    # Planted: SEAL restarts the stream of a seeded context at each encryption, so one
    # context for two of them would make them equal.
    frame = Frame(DEFAULT, 3, 2 * POLY_DEGREE)
    words = np.zeros(frame.where.words, dtype=np.uint64)
    holder = KeyHolder(frame, rng("keys"))
    sealed = [
        holder.encryptor(frame, source).encrypt(words)
        for source in (None, None, rng("site-1"), rng("site-2"))
    ]
    masks = [
        one[:, at : at + POLY_DEGREE].tobytes()
        for one in sealed
        for at in range(len(words), frame.shape[1], POLY_DEGREE)
    ]
    assert len(set(masks)) == 4 * 3
    for i, one in enumerate(sealed):
        for other in sealed[:i]:
            assert np.mean(one == other) < 1e-3


def test_a_context_with_one_seed_would_repeat_the_randomness():
    bits = FRAME.where.ring.bits
    api = seal.require_tenseal()
    holder = KeyHolder(FRAME)
    seeded = seal.seeded_context(FRAME.moduli, bits, bytes(range(64)))
    twins = [api.Ciphertext(), api.Ciphertext()]
    for twin in twins:
        plain = seal.plaintext(np.ones(3, dtype=np.uint64))
        api.Encryptor(seeded, holder._public).encrypt(plain, twin)
    one, two = (seal.cipher_words(twin, FRAME.moduli, 9)[0] for twin in twins)
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
    words = random_words(FRAME)
    holder = KeyHolder(FRAME)
    assert np.array_equal(
        holder.decrypt(FRAME, holder.encryptor(FRAME).encrypt(words)), words
    )


def test_seeded_keys_and_ciphertexts_never_draw_from_one_seed_twice(monkeypatch):
    # A SEAL context starts each sampling from its seed, so one that served two would
    # draw, say, the public key's polynomials from the stream of the secret key.
    seeds, frame = [], Frame(NARROW, 4, FULL + 1)
    seeded_context = seal.seeded_context

    def watched(moduli, ring_bits, fresh):
        seeds.append(fresh)
        return seeded_context(moduli, ring_bits, fresh)

    monkeypatch.setattr(seal, "seeded_context", watched)
    KeyHolder(frame, rng("keys")).encryptor(frame, rng("upload"))
    assert len(seeds) == len(set(seeds)) == 2 + frame.ciphertexts
