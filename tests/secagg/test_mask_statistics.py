"""Masked uploads look uniform, and no mask is ever used for a second thing.

Chi-square tests at 1 in a million on fixed seeds: what passes once passes always.  Each
is run on the nulls too: words without a mask, masks with a defect that somebody has
shipped, a mask used twice.  A stream from few seeds looks uniform and is caught by keys
that coincide.
"""

import hashlib
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

import secagg
from secagg import encode, masks, prg
from secagg.client import Client
from secagg.encoder import Encoder
from secagg.invite import SERVER, Limits, Step
from secagg.keys import Secret
from secagg.masks import Binding
from secagg.messages import decode
from secagg.ring import WORD_BITS, Ring
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates, open_policy

ALPHA = 1e-6
SEED = 11
# An encoder per native word; the ring fills 10, 26 and 52 of its bits with 4 clients.
ENCODERS = {
    16: Encoder(value_bits=8, weight_max=1),
    32: Encoder(value_bits=16, weight_max=255),
    64: Encoder(value_bits=32, weight_max=1 << 18),
}


def p_uniform(values, bins):
    """Return the p-value of chi-square for integers below ``bins``."""
    counts = np.bincount(np.asarray(values, dtype=np.int64), minlength=bins)
    assert len(counts) == bins and counts.sum() >= 5 * bins
    return float(stats.chisquare(counts).pvalue)


def assert_uniform(values, bins, what):
    p = p_uniform(values, bins)
    # As much too even as too uneven would be wrong.
    assert ALPHA < p < 1 - ALPHA, f"{what}: p={p:.3g}, n={len(values)}, seed {SEED}"


def assert_rejected(values, bins):
    assert p_uniform(values, bins) < ALPHA


def parts_of(ring, words):
    """Return the lowest and the highest 8 bits of ring words, the ends of a value."""
    low = ring.reduce(words) & np.uint64(255)
    return {"low": low, "high": ring.reduce(words) >> np.uint64(ring.bits - 8)}


def upload_of(plan, length):
    """Run a round over nearly constant vectors; return layout and packed uploads."""
    size = plan.encoder.clip_norm_l2 / 2 / length**0.5
    updates = {f"c{i}": np.full(length, size) for i in range(plan.clients)}
    out = secagg.run_round(plan, updates, seed=SEED)
    where = encode.layout(plan.encoder, clients=plan.clients, length=length)
    limits = Limits(plan.clients, where.packed_bytes)
    messages = [
        decode(wire.data, limits)
        for wire in out.transcript.messages
        if wire.receiver == SERVER and wire.step == Step.MASKED_INPUT
    ]
    assert len(messages) == plan.clients
    return where, [message.packed for message in messages]


def plan_of(graph, word):
    model = GRAPHS[graph]
    plan = secagg.plan(model.clients, 1, 1, graph=graph, encoder=ENCODERS[word])
    assert Ring(plan.encoder.ring_bits(plan.clients)).word == word
    return plan


# --- uploads -------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORD_BITS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_packed_uploads_are_uniform_bytes_and_words(graph, word):
    length = 20_000
    where, packed = upload_of(plan_of(graph, word), length)
    uploads = [where.ring.unpack(data, where.words) for data in packed]
    for i, (data, words) in enumerate(zip(packed, uploads, strict=True)):
        whole = np.frombuffer(data[:-1], dtype=np.uint8)  # the last one is padded
        assert_uniform(whole, 256, f"bytes of upload {i}")
        for name, part in parts_of(where.ring, words).items():
            assert_uniform(part, 256, f"{name} bits of upload {i}")
    for i in range(len(uploads) - 1):  # nor do two uploads have a mask in common
        for name, part in parts_of(where.ring, uploads[i] - uploads[i + 1]).items():
            assert_uniform(part, 256, f"{name} bits of difference {i}")


@pytest.mark.parametrize("word", WORD_BITS)
def test_the_same_test_rejects_words_without_a_mask(word):
    plan, length = plan_of("complete", word), 20_000
    where = encode.layout(plan.encoder, clients=plan.clients, length=length)
    values = np.full(length, plan.encoder.clip_norm_l2 / 2 / length**0.5)
    bound = {"context": bytes(32), "key": bytes(32)}
    words = encode.encode(plan.encoder, where, values, 1, **bound)
    encode.seal(where, words, bytes(32), bytes(32))
    packed = np.frombuffer(where.ring.pack(words)[:-1], dtype=np.uint8)
    assert_rejected(packed, 256)
    for part in parts_of(where.ring, words).values():
        assert_rejected(part, 256)


@pytest.mark.parametrize("word", WORD_BITS)
def test_the_same_test_rejects_defective_masks(word):
    count, ring = 20_000, Ring(word)
    genuine = prg.keystream_words(bytes(range(32)), count, word)
    for part in parts_of(ring, genuine).values():
        assert_uniform(part, 256, "stream")
    # The words of a base64 text: the top bit of every byte is missing.
    ascii_only = genuine & ring.dtype.type(int.from_bytes(b"\x7f" * (word // 8), "big"))
    # A float in [0, 1) times the modulus, in half precision: low bits are lost.
    below = np.nextafter(2.0**word, 0)
    halves = (genuine / 2.0**word).astype(np.float16).astype(np.float64)
    coarse = np.minimum(halves * 2.0**word, below).astype(ring.dtype)
    # Normal noise instead of uniform words.
    rng = np.random.default_rng(SEED)
    normal = (rng.normal(0, 2.0 ** (word - 4), count)).astype(np.int64)
    for defective in (ascii_only, coarse, ring.from_signed(normal)):
        ps = [p_uniform(part, 256) for part in parts_of(ring, defective).values()]
        assert min(ps) < ALPHA


def test_the_same_test_rejects_a_mask_used_twice():
    ring, values = Ring(32), np.arange(20_000) % 100
    mask = prg.keystream_words(bytes(32), len(values), 32)
    first = ring.from_signed(values) + mask
    second = ring.from_signed(values[::-1].copy()) + mask
    for upload in (first, second):
        assert_uniform(parts_of(ring, upload)["low"], 256, "each alone")
    assert_rejected(parts_of(ring, first - second)["low"], 256)


@pytest.mark.slow
@pytest.mark.parametrize("word", WORD_BITS)
def test_long_streams_are_uniform_and_their_p_values_too(word):
    # 2^20 words, in 65 536 bins by their highest 16 bits, for 64 keys.
    ps = []
    for number in range(64):
        key = hashlib.sha256(b"%d %d" % (word, number)).digest()
        words = prg.keystream_words(key, 1 << 20, word)
        ps.append(p_uniform(words >> words.dtype.type(word - 16), 1 << 16))
    assert min(ps) > ALPHA, f"n={len(ps)}"
    assert stats.kstest(ps, "uniform").pvalue > ALPHA, f"n={len(ps)}"


# --- keys ----------------------------------------------------------------------------


def derived_keys(monkeypatch):
    """Record every mask key derived, by what it is bound to."""
    derived = defaultdict(list)

    def watch(kind, derive, ends):
        def watched(*secrets, binding, context, **who):
            key = derive(*secrets, binding=binding, context=context, **who)
            named = tuple(sorted(who[ends])) if ends == "pair" else who[ends]
            purpose = (kind, named, binding.round_id, binding.key_list, context)
            derived[purpose].append(key.expose())
            return key

        return watched

    monkeypatch.setattr(masks, "pair_key", watch("pair", masks.pair_key, "pair"))
    monkeypatch.setattr(masks, "self_key", watch("self", masks.self_key, "owner"))
    return derived


def run_with(graph, *, session, context, names, length=6):
    """Run a round whose clients draw the same randomness for the same ``names``."""
    plan = GRAPHS[graph]
    updates = make_updates(plan.clients, length)
    clients = {
        name: Client(
            plan,
            open_policy(plan),
            me=name,
            rng=secagg.simulation_rng(SEED, name, *names),
        )
        for name in updates
    }
    contexts = dict.fromkeys(updates, context)

    def lose(wire):
        lost = wire.sender == "c1" and wire.step == Step.MASKED_INPUT
        return None if lost else wire.data

    network = Network(
        plan, updates, session=session, contexts=contexts, clients=clients
    )
    return network.run(lose).result()


def test_no_mask_key_serves_two_rounds_contexts_retries_or_clients(monkeypatch):
    derived = derived_keys(monkeypatch)
    # The worst case: clients restored from a snapshot draw the same keys again.
    for graph in GRAPHS:
        for session in (b"round 1", b"round 2"):
            for context in (CONTEXT, secagg.context(b"another tensor")):
                run_with(graph, session=session, context=context, names=("again",))
        run_with(graph, session=b"round 1", context=CONTEXT, names=("again",), length=7)
        # A retry of a round under its own name, with fresh randomness.
        run_with(graph, session=b"round 1", context=CONTEXT, names=("fresh",))
    keys = {purpose: set(found) for purpose, found in derived.items()}
    assert all(len(found) == 1 for found in keys.values())
    distinct = set().union(*keys.values())
    assert len(distinct) == len(keys)
    uses = defaultdict(list)
    for (kind, *_), found in derived.items():
        uses[kind].append(len(found))
    # A pair's key is derived at its two ends and by the server if one end dropped; an
    # own mask's by its owner and, if that survived, by the server.
    assert set(uses["pair"]) == {2, 3} and set(uses["self"]) == {1, 2}
    # 6 rounds: 4 clients with 6 pairs, and 6 clients of 4 neighbours with 12 pairs.
    # What a dropped client had derived for its lost upload counts.
    assert len(uses["pair"]) == 6 * (6 + 12) and len(uses["self"]) == 6 * (4 + 6)


def pair_keys(count):
    """Return the keys of one pair over so many rounds."""
    agreed = Secret(b"s" * 32)
    return [
        masks.pair_key(
            agreed,
            pair=(0, 1),
            binding=Binding(number.to_bytes(32, "little"), b"k" * 32),
            context=CONTEXT,
        ).expose()
        for number in range(count)
    ]


def folded(key):
    """Keep 28 bits of a key: xor its bytes, as base64 text has them, in four lanes."""
    lanes = np.frombuffer(key, dtype="<u4")
    return (int(np.bitwise_xor.reduce(lanes)) & 0x7F7F7F7F).to_bytes(4, "little")


def test_derived_keys_are_uniform_bytes_and_folded_ones_are_not():
    keys = pair_keys(2000)
    assert_uniform(np.frombuffer(b"".join(keys), dtype=np.uint8), 256, "keys")
    short = b"".join(folded(key) for key in keys)
    assert_rejected(np.frombuffer(short, dtype=np.uint8), 256)


@pytest.mark.slow
def test_derived_keys_never_coincide_and_those_from_28_bits_do():
    # 60 000 draws out of 2^28 give 6.7 coincidences on average, and none in 1 of 800.
    keys = pair_keys(60_000)
    assert len(set(keys)) == len(keys)
    few = {hashlib.sha256(folded(key)).digest() for key in keys}
    assert len(few) < len(keys)
    # Each stream of such a key passes for uniform: only the keys give it away.
    words = prg.keystream_words(few.pop(), 20_000, 32)
    assert_uniform(parts_of(Ring(32), words)["low"], 256, "stream of a 28-bit seed")
