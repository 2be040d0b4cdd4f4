"""Published vectors, an independent implementation, and tampered twins."""

import copy
import pickle

import numpy as np
import pytest
from Crypto.Cipher import AES
from Crypto.Util import Counter

from secagg import keys, prg
from secagg.errors import AuthenticationError, LocalProtocolError, ParameterError
from secagg.keys import AgreementKey, IdentityKey, Secret

unhex = bytes.fromhex


@pytest.mark.parametrize(
    ("scalar", "point", "result"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_x25519_matches_rfc7748_section_5_2(scalar, point, result):
    shared = AgreementKey(Secret(unhex(scalar))).agree(unhex(point))
    assert shared == Secret(unhex(result))


def test_x25519_matches_rfc7748_section_6_1():
    alice = AgreementKey(
        Secret(
            unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        )
    )
    bob = AgreementKey(
        Secret(
            unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
        )
    )
    assert alice.public == unhex(
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    assert bob.public == unhex(
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    )
    shared = Secret(
        unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    )
    assert alice.agree(bob.public) == shared == bob.agree(alice.public)


LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("public", [*LOW_ORDER, "ab" * 31])
def test_x25519_refuses_low_order_and_malformed_points(public):
    with pytest.raises(AuthenticationError):
        AgreementKey.generate().agree(unhex(public))
    with pytest.raises(AuthenticationError):
        keys.check_public(unhex(public))


HKDF_CASES = [
    (  # RFC 5869 A.3 is the case with an empty salt, the one this package uses.
        "0b" * 22,
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        "9d201395faa4b61a96c8",
        42,
    ),
]


@pytest.mark.parametrize(("ikm", "info", "okm", "length"), HKDF_CASES)
def test_derive_matches_rfc5869_empty_salt(ikm, info, okm, length):
    derived = keys.derive(Secret(unhex(ikm)), unhex(info), length=length)
    assert derived == Secret(unhex(okm))


def test_library_hkdf_matches_rfc5869_a1_and_a2():
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    a1 = HKDF(
        SHA256(), 42, unhex("000102030405060708090a0b0c"), unhex("f0f1f2f3f4f5f6f7f8f9")
    ).derive(unhex("0b" * 22))
    assert a1 == unhex(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        "34007208d5b887185865"
    )
    a2 = HKDF(SHA256(), 82, bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100))).derive(
        bytes(range(0x50))
    )
    assert a2 == unhex(
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )


def test_aes256_ctr_matches_sp800_38a_f_5_5_through_the_second_implementation():
    # The vector starts at a counter other than ours, so it checks the second
    # implementation, and the next test checks ours against that one.
    key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    start = int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16)
    cipher = AES.new(key, AES.MODE_CTR, counter=Counter.new(128, initial_value=start))
    plain = unhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    assert cipher.encrypt(plain) == unhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65536, 65537, 200_003])
def test_keystream_equals_an_independent_aes_ctr(count):
    key = bytes(range(32))
    cipher = AES.new(key, AES.MODE_CTR, counter=Counter.new(128, initial_value=0))
    assert prg.keystream(key, count) == cipher.encrypt(bytes(count))


@pytest.mark.parametrize("word", [16, 32, 64])
@pytest.mark.parametrize("count", [1, 7, 8192, 8193, 70_001])
def test_blockwise_addition_equals_whole_stream(word, count):
    key = bytes(range(32))
    stream = np.frombuffer(
        prg.keystream(key, count * word // 8), dtype=f"<u{word // 8}"
    )
    total = np.arange(count).astype(stream.dtype)
    before = total.copy()
    prg.add_keystream(total, key, 1)
    assert np.array_equal(total, before + stream)
    prg.add_keystream(total, key, -1)
    assert np.array_equal(total, before)
    assert np.array_equal(prg.keystream_words(key, count, word), stream)


def test_keystream_refuses_short_keys_and_bad_signs():
    with pytest.raises(ParameterError):
        prg.keystream(bytes(16), 4)
    with pytest.raises(ParameterError):
        prg.add_keystream(np.zeros(3, dtype="<u2"), bytes(32), 0)


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


def test_aes_gcm_matches_mcgrew_viega_case_13_and_14():
    # Key, nonce and associated data are all zero or empty in these two cases.
    key = Secret(bytes(32))
    assert keys.seal(key, b"", b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    assert keys.seal(key, bytes(16), b"").hex() == (
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    )


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


ED25519 = [  # RFC 8032 section 7.1, tests 1 and 2
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), ED25519)
def test_ed25519_matches_rfc8032(seed, public, message, signature):
    key = IdentityKey(Secret(unhex(seed)))
    assert key.public == unhex(public)
    assert key.sign(unhex(message)) == unhex(signature)
    keys.verify(key.public, unhex(message), unhex(signature))
    with pytest.raises(AuthenticationError):
        keys.verify(key.public, unhex(message) + b"x", unhex(signature))
    with pytest.raises(AuthenticationError):
        keys.verify(key.public, unhex(message), b"")
    with pytest.raises(AuthenticationError):
        keys.verify(key.public[:-1], unhex(message), unhex(signature))


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
