"""Streams, simulated randomness and secrets; ``test_known_answers`` has the ciphers."""

import copy
import hashlib
import hmac
import pickle

import pytest
from Crypto.Cipher import AES

from secagg import keys, prg, usage
from secagg.errors import AuthenticationError, LocalProtocolError, ParameterError
from secagg.keys import AgreementKey, IdentityKey, Secret


@pytest.mark.parametrize("word", [16, 32, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 8192, 8193, 70_001])
def test_words_made_in_blocks_are_those_of_the_whole_stream(word, count):
    key = bytes(range(32))
    stream = prg.keystream(key, count * word // 8)
    words = prg.keystream_words(key, count, word)
    assert words.tobytes() == stream and words.itemsize * 8 == word


@pytest.mark.parametrize("faster", [True, False])
def test_a_stream_taken_in_pieces_is_counter_mode_whatever_code_makes_it(
    faster, monkeypatch
):
    monkeypatch.setattr(prg, "gcm_is_faster", lambda: faster)
    key, size = bytes(range(32)), 1 << 16
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=0)
    expected = cipher.encrypt(bytes(4 * size))
    for most in (1 << 10, 1 << 16):  # a short piece, and one for which GCM pays
        for skip in (0, 16, size):
            for pieces in ((8, most, 24, most), (most, 3, most), (31, 1, 1, 40)):
                stream = prg.Keystream(key, most, skip)
                taken = b"".join(stream.take(p, 8).tobytes() for p in pieces)
                assert taken == expected[skip : skip + len(taken)]


@pytest.mark.parametrize("block", [2**32 - 1, 2**32, 2**64 - 1])
def test_a_stream_goes_on_beyond_the_counters_of_gcm(block):
    key = bytes(range(32))
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=block)
    taken = prg.Keystream(key, 1 << 16, 16 * block).take(12, 32)
    assert taken.tobytes() == cipher.encrypt(bytes(48))


def test_a_stream_gives_no_more_at_a_time_than_it_has_room_for():
    for most in (40, 1 << 16):
        stream = prg.Keystream(bytes(32), most)
        with pytest.raises(ParameterError, match="more than"):
            stream.take(most // 8 + 1, 64)
        stream.take(most // 8, 64)
    with pytest.raises(ParameterError, match="multiple of 16"):
        prg.Keystream(bytes(32), skip=8)


def test_keystream_refuses_short_keys():
    with pytest.raises(ParameterError):
        prg.keystream(bytes(16), 4)


def test_simulation_rng_is_reproducible_and_separated_by_name():
    def first(*names):
        return prg.simulation_rng(7, *names)(64)

    assert first("a", 1) == first("a", 1)
    others = {first("a", 1), first("a", 2), first("a1"), first("a", "1"), first("b", 1)}
    assert len(others) == 5
    assert prg.simulation_rng(b"7")(8) != prg.simulation_rng(7)(8)
    rng = prg.simulation_rng(7, "a", 1)
    assert rng(10) + rng(54) == first("a", 1)


@pytest.mark.parametrize("rng", [lambda n: bytes(n - 1), lambda n: bytearray(n)])
def test_draw_refuses_a_broken_rng(rng):
    with pytest.raises(ParameterError):
        prg.draw(rng, 8)


@pytest.mark.parametrize("part", ["ciphertext", "tag", "associated", "key"])
def test_unseal_refuses_every_tampered_part(part):
    key, associated = Secret(bytes(32)), b"who"
    box = bytearray(keys.seal(key, b"shares", associated))
    assert keys.unseal(key, bytes(box), associated) == b"shares"
    if part == "ciphertext":
        box[0] ^= 1
    elif part == "tag":
        box[-1] ^= 1
    elif part == "associated":
        associated = b"why"
    else:
        key = Secret(b"\1" + bytes(31))
    with pytest.raises(AuthenticationError):
        keys.unseal(key, bytes(box), associated)


def test_secrets_never_print_hash_or_pickle():
    secret = Secret(b"attack at dawn..")
    shown = f"{secret} {secret!r} {secret:>40} {secret!s} {[secret]}"
    assert "dawn" not in shown and "<16 secret bytes>" in shown
    assert b"dawn".hex() not in shown
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        bytes(secret)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(LocalProtocolError):
            leak(secret)
    assert secret == Secret(b"attack at dawn..")
    assert secret != Secret(b"attack at dusk..")
    assert secret != b"attack at dawn.."


def test_wipe_overwrites_the_held_bytes():
    secret = Secret(b"x" * 32)
    held = secret._value
    secret.wipe()
    assert len(held) == 0 and len(secret) == 0


def test_keys_refuse_secrets_of_the_wrong_size():
    for kind in (AgreementKey, IdentityKey):
        with pytest.raises(ParameterError):
            kind(Secret(bytes(31)))


@pytest.mark.parametrize("info", [b"", b"one", b"two" * 30])
def test_derived_keys_are_those_of_the_two_steps_of_rfc5869(info):
    # Sections 2.2 and 2.3, written out: one block of output, an empty salt.
    secret = bytes(range(32))
    extracted = hmac.digest(bytes(32), secret, "sha256")
    expanded = hmac.digest(extracted, info + b"\1", "sha256")
    assert keys.derive(Secret(secret), info) == Secret(expanded)


def test_wiping_writes_zeros_before_it_drops_the_bytes():
    class Watched(bytearray):
        def clear(self):
            seen.append(bytes(self))
            super().clear()

    seen: list[bytes] = []
    secret = Secret(b"x" * 32)
    secret._value = Watched(secret._value)
    secret.wipe()
    assert seen == [bytes(32)]


def test_secrets_are_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((bytes(one), bytes(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(keys, "hmac", type("hmac", (), {"compare_digest": compare}))
    assert Secret(b"a") != Secret(b"b")
    assert compared == [(b"a", b"b")]


def test_an_identity_prints_its_public_key_only():
    key = IdentityKey(Secret(bytes(range(32))))
    shown = f"{key} {key!r}"
    assert key.public.hex() in shown
    assert bytes(range(32)).hex() not in shown and repr(bytes(range(32))) not in shown


def test_each_tag_names_one_purpose_in_one_version():
    tags = [value for name, value in vars(usage).items() if name.startswith("TAG_")]
    assert len(tags) >= 15 and len(set(tags)) == len(tags)
    prefix = b"blindsum/secagg/%d/" % usage.VERSION
    assert all(tag.startswith(prefix) for tag in tags)


def test_a_digest_is_that_of_its_tag_and_parts_each_behind_its_length():
    eight = (3).to_bytes(8, "little"), (1).to_bytes(8, "little")
    expected = hashlib.sha256(eight[0] + b"tag" + eight[1] + b"x").digest()
    assert usage.digest(b"tag", b"x") == expected
    assert usage.digest(b"tag", b"x") != usage.digest(b"gat", b"x")


def test_a_seed_of_bytes_never_stands_for_one_that_is_a_number():
    number = (5).to_bytes(32, "little")
    seeds = [5, number, b"int" + number, b"raw" + number, b"raw"]
    assert len({prg.simulation_rng(seed, "a")(16) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_536])
def test_every_part_stands_behind_its_whole_length(size):
    length = size.to_bytes(8, "little")
    assert usage.join(b"", bytes(size)) == bytes(8) + length + bytes(size)
