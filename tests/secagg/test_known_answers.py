"""Every primitive against its published vectors, a second implementation, and twins.

``tests/vectors/primitives.json`` holds the published numbers with their sources.  The
code under test computes with OpenSSL (``cryptography``), numpy or hashlib; the second
implementation is pycryptodome or plain Python.  A twin is a vector with one bit
changed: it must be refused or give another answer.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from Crypto.Cipher import AES, ChaCha20
from Crypto.Hash import SHA256, SHA512
from Crypto.Protocol import DH
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa
from Crypto.Util import Counter
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf import hkdf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secagg import keys, prg, usage
from secagg.errors import AuthenticationError, DecodeError
from secagg.keys import AgreementKey, IdentityKey, Secret
from secagg.ring import Ring

FILE = Path(__file__).parents[1] / "vectors" / "primitives.json"
PUBLISHED = json.loads(FILE.read_text())
unhex = bytes.fromhex
KEY = st.binary(min_size=32, max_size=32)
few = settings(max_examples=25, deadline=None)


def cases(primitive):
    """Run a test on every published case of a primitive."""
    listed = PUBLISHED[primitive]["cases"]
    names = [str(case.get("name", i)) for i, case in enumerate(listed)]
    return pytest.mark.parametrize("case", listed, ids=names)


def twins(value: bytes):
    """Yield a value with one bit changed, at both ends and in the middle."""
    for at in sorted({0, len(value) // 2, len(value) - 1} if value else set()):
        for bit in (1, 0x40):
            yield value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :]


def test_every_entry_names_its_source():
    entries = {name: entry for name, entry in PUBLISHED.items() if name != "about"}
    assert len(entries) == 9
    for name, entry in entries.items():
        assert entry["source"], name


# --- X25519 --------------------------------------------------------------------------


def agree(scalar: bytes, point: bytes) -> bytes:
    return AgreementKey(Secret(scalar)).agree(point).expose()


def agree_independently(scalar: bytes, point: bytes) -> bytes:
    return DH.key_agreement(
        static_priv=DH.import_x25519_private_key(scalar),
        static_pub=DH.import_x25519_public_key(point),
        kdf=lambda shared: shared,
    )


@pytest.mark.parametrize("case", PUBLISHED["x25519"]["multiply"])
def test_x25519_matches_rfc7748_section_5_2(case):
    scalar, point = unhex(case["scalar"]), unhex(case["point"])
    assert agree(scalar, point) == unhex(case["result"])
    assert agree_independently(scalar, point) == unhex(case["result"])
    for twin in twins(scalar[1:-1]):  # the ends of a scalar are clamped
        assert agree(scalar[:1] + twin + scalar[-1:], point) != unhex(case["result"])
    for twin in twins(point):
        assert agree(scalar, twin) != unhex(case["result"])


def test_x25519_iterated_matches_rfc7748_section_5_2():
    scalar = point = bytes([9]) + bytes(31)
    for count in range(1, 1001):
        scalar, point = agree(scalar, point), scalar
        if str(count) in PUBLISHED["x25519"]["iterate"]:
            assert scalar.hex() == PUBLISHED["x25519"]["iterate"][str(count)]


def test_x25519_matches_rfc7748_section_6_1():
    published = {k: unhex(v) for k, v in PUBLISHED["x25519"]["agree"].items()}
    alice = AgreementKey(Secret(published["alice_secret"]))
    bob = AgreementKey(Secret(published["bob_secret"]))
    assert alice.public == published["alice_public"]
    assert bob.public == published["bob_public"]
    assert alice.agree(bob.public) == Secret(published["shared"])
    assert bob.agree(alice.public) == Secret(published["shared"])


@few
@given(a=KEY, b=KEY)
def test_x25519_agrees_on_both_sides_and_with_pycryptodome(a, b):
    ours = {key: AgreementKey(Secret(key)).public for key in (a, b)}
    for key, public in ours.items():
        independent = DH.import_x25519_private_key(key).public_key()
        assert independent.export_key(format="raw") == public
    assert agree(a, ours[b]) == agree(b, ours[a]) == agree_independently(a, ours[b])


@pytest.mark.parametrize("point", [*PUBLISHED["x25519_low_order"]["points"], "ab" * 31])
def test_x25519_refuses_low_order_and_malformed_points(point):
    with pytest.raises(AuthenticationError):
        AgreementKey.generate().agree(unhex(point))
    with pytest.raises(AuthenticationError):
        keys.check_public(unhex(point))


def test_the_low_order_points_are_those_of_the_curve_and_its_twist():
    # 8 times the point is the neutral element, in a Montgomery ladder of plain ints.
    def double(x, z):
        a, b, p = (x + z) ** 2, (x - z) ** 2, keys.FIELD_PRIME
        return a * b % p, (a - b) * (b + 121666 * (a - b)) % p

    reduced = set()
    for point in PUBLISHED["x25519_low_order"]["points"]:
        x, z = int.from_bytes(unhex(point), "little") % keys.FIELD_PRIME, 1
        reduced.add(x)
        for _ in range(3):
            x, z = double(x, z)
        assert z == 0
    assert len(reduced) == 5  # 0, 1, -1 and two of order 8


# --- Ed25519 -------------------------------------------------------------------------


def sign_independently(seed: bytes, message: bytes) -> bytes:
    key = eddsa.import_private_key(seed)
    return eddsa.new(key, "rfc8032").sign(message)


@cases("ed25519")
def test_ed25519_matches_rfc8032(case):
    fields = ("seed", "public", "message", "signature")
    seed, public, message, signature = (unhex(case[name]) for name in fields)
    key = IdentityKey(Secret(seed))
    assert key.public == public
    assert key.sign(message) == sign_independently(seed, message) == signature
    keys.verify(public, message, signature)


@cases("ed25519")
def test_ed25519_refuses_every_tampered_twin(case):
    fields = ("public", "message", "signature")
    good = {name: unhex(case[name]) for name in fields}
    bad = [good | {name: twin} for name in fields for twin in twins(good[name])]
    bad += [good | {"message": good["message"] + b"\0"}]
    bad += [good | {name: good[name][:-1]} for name in ("public", "signature")]
    bad += [good | {"signature": good["signature"] + b"\0"}]
    # s + L is the same scalar: RFC 8032 section 5.1.7 wants s < L.
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(good["signature"][32:], "little") + order
    malleable = good["signature"][:32] + s.to_bytes(32, "little")
    bad += [good | {"signature": malleable}]
    for twin in bad:
        with pytest.raises(AuthenticationError):
            keys.verify(twin["public"], twin["message"], twin["signature"])


@few
@given(seed=KEY, message=st.binary(max_size=200))
def test_ed25519_agrees_with_pycryptodome(seed, message):
    key = IdentityKey(Secret(seed))
    signature = key.sign(message)
    assert signature == sign_independently(seed, message)
    independent = ECC.import_key(_spki(key.public))
    eddsa.new(independent, "rfc8032").verify(message, signature)
    assert SHA512.new(seed).digest() == hashlib.sha512(seed).digest()


def _spki(public: bytes) -> bytes:
    """Wrap a raw Ed25519 key as RFC 8410 does, for an importer that knows only that."""
    return unhex("302a300506032b6570032100") + public


# --- HKDF-SHA256 ---------------------------------------------------------------------


@cases("hkdf_sha256")
def test_hkdf_matches_rfc5869(case):
    secret, salt, info = (unhex(case[name]) for name in ("secret", "salt", "info"))
    expected = unhex(case["output"])
    size = len(expected)
    assert hkdf.HKDF(hashes.SHA256(), size, salt, info).derive(secret) == expected
    assert HKDF(secret, size, salt, SHA256, context=info) == expected
    if not salt:  # the only way in which this package uses it
        derived = keys.derive(Secret(secret), info, length=size)
        assert derived == Secret(expected)
        for twin in twins(secret):
            assert keys.derive(Secret(twin), info, length=size) != derived
        assert keys.derive(Secret(secret), info + b"\0", length=size) != derived


def test_derive_matches_one_case_at_least():
    assert any(not case["salt"] for case in PUBLISHED["hkdf_sha256"]["cases"])


@few
@given(
    secret=st.binary(min_size=1, max_size=80),
    info=st.binary(max_size=200),
    size=st.integers(1, 200),
)
def test_derive_agrees_with_pycryptodome(secret, info, size):
    independent = HKDF(secret, size, b"", SHA256, context=info)
    assert keys.derive(Secret(secret), info, length=size) == Secret(independent)


# --- AES-256-CTR ---------------------------------------------------------------------


def test_aes256_ctr_matches_sp800_38a_f_5_5_and_f_5_6():
    # The vector starts at a counter that ours never reaches: it checks both libraries,
    # and the next test checks our streams against the second one.
    case = PUBLISHED["aes256_ctr"]
    key, start = unhex(case["key"]), unhex(case["counter"])
    plain, sealed = unhex(case["plaintext"]), unhex(case["ciphertext"])
    number = int.from_bytes(start, "big")

    def second():
        counter = Counter.new(128, initial_value=number)
        return AES.new(key, AES.MODE_CTR, counter=counter)

    first = Cipher(algorithms.AES(key), modes.CTR(start))
    assert second().encrypt(plain) == first.encryptor().update(plain) == sealed
    assert second().decrypt(sealed) == first.decryptor().update(sealed) == plain


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65536, 65537, 200_003])
def test_keystream_equals_an_independent_aes_ctr(count):
    key = bytes(range(32))
    cipher = AES.new(key, AES.MODE_CTR, counter=Counter.new(128, initial_value=0))
    assert prg.keystream(key, count) == cipher.encrypt(bytes(count))


def test_keystream_is_the_block_cipher_of_0_1_2_and_so_on():
    # SP 800-38A section 6.5, spelt out; the carry into the second byte included.
    key = unhex(PUBLISHED["aes256_ctr"]["key"])
    blocks = AES.new(key, AES.MODE_ECB)
    counters = b"".join(i.to_bytes(16, "big") for i in range(260))
    assert prg.keystream(key, 260 * 16) == blocks.encrypt(counters)


def test_keystreams_of_neighbouring_keys_share_no_block():
    key = bytes(range(32))
    streams = [prg.keystream(one, 4096) for one in (key, *twins(key))]
    blocks = [s[i : i + 16] for s in streams for i in range(0, len(s), 16)]
    assert len(set(blocks)) == len(blocks)


# --- AES-256-GCM ---------------------------------------------------------------------


@cases("aes256_gcm")
def test_aes256_gcm_matches_mcgrew_viega(case, monkeypatch):
    fields = ("key", "nonce", "associated", "plaintext", "sealed")
    key, nonce, associated, plain, sealed = (unhex(case[name]) for name in fields)
    assert keys._NONCE == bytes(12)  # cases 13 and 14 run as the package does
    monkeypatch.setattr(keys, "_NONCE", nonce)
    assert keys.seal(Secret(key), plain, associated) == sealed
    assert keys.unseal(Secret(key), sealed, associated) == plain
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce).update(associated)
    assert b"".join(cipher.encrypt_and_digest(plain)) == sealed


@cases("aes256_gcm")
def test_aes256_gcm_refuses_every_tampered_twin(case, monkeypatch):
    good = {name: unhex(case[name]) for name in ("key", "associated", "sealed")}
    monkeypatch.setattr(keys, "_NONCE", unhex(case["nonce"]))
    bad = [good | {name: twin} for name in good for twin in twins(good[name])]
    bad += [good | {"sealed": good["sealed"][:-1]}, good | {"sealed": b""}]
    bad += [good | {"associated": good["associated"] + b"\0"}]
    for twin in bad:
        with pytest.raises(AuthenticationError):
            keys.unseal(Secret(twin["key"]), twin["sealed"], twin["associated"])


@few
@given(key=KEY, plain=st.binary(max_size=100), associated=st.binary(max_size=100))
def test_sealing_agrees_with_pycryptodome(key, plain, associated):
    sealed = keys.seal(Secret(key), plain, associated)
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12)).update(associated)
    assert cipher.decrypt_and_verify(sealed[:-16], sealed[-16:]) == plain
    assert keys.unseal(Secret(key), sealed, associated) == plain


# --- ChaCha20 ------------------------------------------------------------------------


def chacha20(key: bytes, nonce: bytes, counter: int, plain: bytes) -> bytes:
    start = counter.to_bytes(4, "little") + nonce
    encryptor = Cipher(algorithms.ChaCha20(key, start), mode=None).encryptor()
    return encryptor.update(plain)


def chacha20_independently(key: bytes, nonce: bytes, counter: int, plain: bytes):
    cipher = ChaCha20.new(key=key, nonce=nonce)
    cipher.seek(64 * counter)
    return cipher.encrypt(plain)


@cases("chacha20")
def test_chacha20_matches_rfc8439(case):
    fields = ("key", "nonce", "plaintext", "ciphertext")
    key, nonce, plain, sealed = (unhex(case[name]) for name in fields)
    counter = case["counter"]
    assert chacha20(key, nonce, counter, plain) == sealed
    assert chacha20_independently(key, nonce, counter, plain) == sealed
    assert chacha20(key, nonce, counter + 1, plain) != sealed
    for twin in twins(key):
        assert chacha20(twin, nonce, counter, plain) != sealed
    for twin in twins(nonce):
        assert chacha20(key, twin, counter, plain) != sealed


@few
@given(
    key=KEY,
    nonce=st.binary(min_size=12, max_size=12),
    counter=st.integers(0, 1000),
    plain=st.binary(max_size=300),
)
def test_chacha20_agrees_with_pycryptodome(key, nonce, counter, plain):
    ours = chacha20(key, nonce, counter, plain)
    assert ours == chacha20_independently(key, nonce, counter, plain)
    assert chacha20(key, nonce, counter, ours) == plain


# --- SHA-256 and what is hashed ------------------------------------------------------


def split(joined: bytes) -> list[bytes]:
    """Take a joined string apart again, from what ``usage.join`` promises alone."""
    parts = []
    while joined:
        size = int.from_bytes(joined[:8], "little")
        parts.append(joined[8 : 8 + size])
        joined = joined[8 + size :]
    return parts


@cases("sha256")
def test_sha256_matches_nist(case):
    message, digest = unhex(case["message"]), unhex(case["digest"])
    assert hashlib.sha256(message).digest() == SHA256.new(message).digest() == digest
    for twin in twins(message):
        assert hashlib.sha256(twin).digest() != digest


@few
@given(tag=st.binary(min_size=1, max_size=40), parts=st.lists(st.binary(max_size=90)))
def test_a_digest_is_sha256_of_parts_that_can_be_told_apart_again(tag, parts):
    joined = usage.join(tag, *parts)
    assert split(joined) == [tag, *parts]  # so join is injective
    assert usage.digest(tag, *parts) == SHA256.new(joined).digest()


@few
@given(parts=st.lists(st.binary(max_size=9), min_size=2, max_size=4), at=st.integers())
def test_a_byte_moved_between_parts_changes_the_digest(parts, at):
    at %= len(parts) - 1
    assume(parts[at + 1])
    moved = list(parts)
    moved[at] += parts[at + 1][:1]
    moved[at + 1] = parts[at + 1][1:]
    assert b"".join(moved) == b"".join(parts)
    assert usage.digest(b"tag", *moved) != usage.digest(b"tag", *parts)


# --- packing -------------------------------------------------------------------------


@cases("packing")
def test_packing_matches_federated_compute(case):
    ring, packed = Ring(case["bits"]), unhex(case["packed"])
    values = case["values"]
    assert ring.pack(np.array(values, dtype=ring.dtype)) == packed
    assert ring.unpack(packed, len(values)).tolist() == values
    for twin in twins(packed):
        try:
            assert ring.unpack(twin, len(values)).tolist() != values
        except DecodeError as error:
            assert "padding" in str(error)
