"""Mask keys are bound to everything that must agree, each on its own."""

import numpy as np
import pytest

from secagg import masks
from secagg.keys import AgreementKey, Secret
from secagg.masks import Binding
from secagg.ring import Ring
from secagg.usage import CIPHERS

BINDING = Binding(b"r" * 32, b"k" * 32)
CONTEXT = b"c" * 32
AGREED = Secret(b"s" * 32)


def test_both_sides_derive_the_same_pair_key():
    a, b = AgreementKey.generate(), AgreementKey.generate()
    one = masks.pair_key(
        a.agree(b.public), pair=(2, 7), binding=BINDING, context=CONTEXT
    )
    two = masks.pair_key(
        b.agree(a.public), pair=(7, 2), binding=BINDING, context=CONTEXT
    )
    assert one == two


@pytest.mark.parametrize(
    "change",
    [
        {"context": b"d" * 32},
        {"binding": Binding(b"x" * 32, b"k" * 32)},
        {"binding": Binding(b"r" * 32, b"x" * 32)},
        {"pair": (2, 8)},
        {"pair": (3, 7)},
        {"agreed": Secret(b"t" * 32)},
    ],
)
def test_pair_keys_depend_on_every_input(change):
    fields = {"agreed": AGREED, "pair": (2, 7), "binding": BINDING, "context": CONTEXT}

    def key(fields):
        rest = {name: fields[name] for name in ("pair", "binding", "context")}
        return masks.pair_key(fields["agreed"], **rest)

    assert key(fields) != key(fields | change)


@pytest.mark.parametrize(
    "change",
    [
        {"context": b"d" * 32},
        {"binding": Binding(b"x" * 32, b"k" * 32)},
        {"binding": Binding(b"r" * 32, b"x" * 32)},
        {"owner": 3},
        {"seed": Secret(b"t" * 32)},
    ],
)
def test_self_keys_depend_on_every_input(change):
    fields = {"seed": AGREED, "owner": 2, "binding": BINDING, "context": CONTEXT}

    def key(fields):
        rest = {name: fields[name] for name in ("owner", "binding", "context")}
        return masks.self_key(fields["seed"], **rest)

    assert key(fields) != key(fields | change)


def test_self_and_pair_keys_of_one_secret_differ():
    pair = masks.pair_key(AGREED, pair=(0, 0), binding=BINDING, context=CONTEXT)
    own = masks.self_key(AGREED, owner=0, binding=BINDING, context=CONTEXT)
    assert pair != own


def unmasked_sum(contexts):
    """Mask three zero vectors, add them up, and take all the own masks off."""
    ring = Ring(40)
    n, length = len(contexts), 64
    total = ring.zeros(length)
    for u, context in enumerate(contexts):
        pairs = {
            v: masks.pair_key(
                Secret(bytes([u + v]) * 32),
                pair=(u, v),
                binding=BINDING,
                context=context,
            )
            for v in range(n)
            if v != u
        }
        own = masks.self_key(AGREED, owner=u, binding=BINDING, context=context)
        words = ring.zeros(length)
        masks.add_masks(words, me=u, own=own, pairs=pairs)
        masks.remove_all(words, [(own, 1)])
        total += words
    return ring.reduce(total)


def test_pairwise_masks_cancel_under_one_context_only():
    assert not unmasked_sum([CONTEXT] * 3).any()
    noise = unmasked_sum([CONTEXT, CONTEXT, b"d" * 32])
    assert len(np.unique(noise)) == len(noise)


def test_masks_of_a_dropped_client_can_be_removed_for_each_survivor():
    ring = Ring(33)
    for survivor, dropped in ((0, 1), (1, 0)):
        words = ring.zeros(20)
        key = masks.pair_key(AGREED, pair=(0, 1), binding=BINDING, context=CONTEXT)
        masks.add_masks(words, me=survivor, own=AGREED, pairs={dropped: key})
        masks.remove_all(words, [(AGREED, 1)])
        assert words.any()
        masks.remove_all(words, [(key, masks.sign(survivor, dropped))])
        assert not words.any()


def test_signs_of_a_pair_are_opposite_whoever_they_are():
    for u in range(40):
        for v in range(u):
            assert (masks.sign(u, v), masks.sign(v, u)) == (1, -1)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_masks_come_off_in_batches_and_from_a_generator(cipher, monkeypatch):
    monkeypatch.setattr(masks, "_BATCH_KEYS", 3)
    pairs = {v: Secret(bytes([v]) * 32) for v in range(8) if v != 4}
    words = Ring(26).zeros(33)
    masks.add_masks(words, me=4, own=AGREED, pairs=pairs, cipher=cipher)
    held = ((key, masks.sign(4, v)) for v, key in pairs.items())
    masks.remove_all(words, held, cipher=cipher)
    assert words.any()
    masks.remove_all(words, iter([(AGREED, 1)]), cipher=cipher)
    assert not words.any()


def test_a_mask_drawn_with_another_cipher_does_not_come_off():
    words = Ring(26).zeros(33)
    masks.add_masks(words, me=0, own=AGREED, pairs={}, cipher=CIPHERS[0])
    masks.remove_all(words, [(AGREED, 1)], cipher=CIPHERS[1])
    assert words.any()
