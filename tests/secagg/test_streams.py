"""The masking kernel: published vectors, a slow oracle, and any number of threads."""

import tracemalloc

import numpy as np
import pytest

from secagg import ciphers
from secagg.ciphers import SEGMENT_BYTES
from secagg.errors import ParameterError
from secagg.streams import add_streams, stream_words
from secagg.usage import CIPHERS
from tests.secagg import stream_oracle

KEYS = [(bytes([i]) * 32, 1 if i % 3 else -1) for i in range(4)]


def unhex(text):
    return bytes.fromhex(text.replace(" ", ""))


# RFC 8439, appendix A.1, cases 1 to 4: key, block counter, block; the nonce is zero.
RFC_8439 = [
    (
        bytes(32),
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        bytes(32),
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        bytes(31) + b"\1",
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        b"\0\xff" + bytes(30),
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
]


@pytest.mark.parametrize(("key", "counter", "block"), RFC_8439)
def test_chacha20_streams_are_those_of_rfc_8439(key, counter, block):
    assert stream_oracle.chacha20_block(key, counter, bytes(12)) == unhex(block)
    words = stream_words(key, 16 * (counter + 1), 32, cipher="chacha20")
    assert words.tobytes()[64 * counter :] == unhex(block)


def test_the_oracle_counts_nonces_as_rfc_8439_does():
    # Appendix A.1, case 5, the one with a nonce.
    nonce = bytes(11) + b"\2"
    assert stream_oracle.chacha20_block(bytes(32), 0, nonce) == unhex(
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"
    )


def test_an_aes_segment_is_a_gcm_ciphertext():
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: one zero
    # block under a zero key of 256 bits and a zero nonce.
    assert stream_words(bytes(32), 8, 16).tobytes() == unhex(
        "cea7403d4d606b6e074ec5d3baf39d18"
    )


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("word_bits", [16, 32, 64])
def test_the_kernel_equals_the_oracle_in_integers(cipher, word_bits):
    # ChaCha20 in pure Python takes 40 us a block: its long streams are tested below.
    count = (2 * SEGMENT_BYTES + 72) * 8 // word_bits if cipher[0] == "a" else 700
    before = np.arange(count, dtype=np.uint64).astype(f"<u{word_bits // 8}")
    total = before.copy()
    add_streams(total, KEYS, cipher=cipher)
    expected = stream_oracle.add(cipher, before.tolist(), KEYS, word_bits)
    assert total.tolist() == expected


def test_long_chacha20_streams_equal_an_independent_implementation():
    from Crypto.Cipher import ChaCha20

    key, count = bytes(range(32)), 2 * SEGMENT_BYTES + 13 * 4
    words = stream_words(key, count // 4, 32, cipher="chacha20")
    peer = ChaCha20.new(key=key, nonce=bytes(12))
    assert words.tobytes() == peer.encrypt(bytes(count))


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("size", [2, SEGMENT_BYTES - 2, 5 * SEGMENT_BYTES + 6])
def test_any_number_of_threads_gives_the_same_words(cipher, size):
    before = np.arange(size // 2).astype("<u2")
    results = []
    for threads in (1, 2, 3, 7, 50, None):
        total = before.copy()
        add_streams(total, KEYS, cipher=cipher, threads=threads)
        results.append(total.tobytes())
    assert len(set(results)) == 1 != len({before.tobytes(), results[0]})


def test_both_ways_to_an_aes_segment_write_the_same_bytes(monkeypatch):
    texts = []
    for faster in (True, False):
        monkeypatch.setattr(ciphers, "gcm_is_faster", lambda faster=faster: faster)
        texts.append(stream_words(b"k" * 32, SEGMENT_BYTES // 4 * 3 + 5, 32).tobytes())
    assert texts[0] == texts[1]


def test_an_old_cryptography_has_a_way_too(monkeypatch):
    class Old:
        """AESGCM without encrypt_into."""

    ciphers.gcm_is_faster.cache_clear()
    monkeypatch.setattr(ciphers, "AESGCM", Old)
    assert not ciphers.gcm_is_faster()
    stream_words(bytes(32), 9, 32)
    ciphers.gcm_is_faster.cache_clear()


@pytest.mark.parametrize("cipher", CIPHERS)
def test_opposite_signs_cancel_and_order_does_not_matter(cipher):
    total = np.zeros(70_001, dtype="<u4")
    add_streams(total, KEYS, cipher=cipher)
    assert total.any()
    add_streams(total, [(key, -sign) for key, sign in KEYS[::-1]], cipher=cipher)
    assert not total.any()
    add_streams(total, [], cipher=cipher)
    add_streams(total[:0], KEYS, cipher=cipher)
    assert not total.any()


def test_the_ciphers_give_unrelated_streams():
    one, two = (stream_words(b"k" * 32, 4000, 16, cipher=c) for c in CIPHERS)
    assert np.count_nonzero(one == two) < 5


@pytest.mark.parametrize("cipher", CIPHERS)
def test_memory_beside_the_vector_is_constant(cipher):
    total = np.zeros(4_000_000, dtype="<u4")
    keys = KEYS * 10
    add_streams(total[:9], keys, cipher=cipher)
    tracemalloc.start()
    add_streams(total, keys, cipher=cipher, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * SEGMENT_BYTES < total.nbytes / 20


@pytest.mark.parametrize(
    ("changed", "argument"),
    [
        ({"keys": [(bytes(16), 1)]}, "keys"),
        ({"keys": [(bytes(32), 0)]}, "keys"),
        ({"keys": [*KEYS, (bytes(33), 1)]}, "keys"),
        ({"total": np.zeros(4, dtype="<i4")}, "total"),
        ({"total": np.zeros(4, dtype=">u4")}, "total"),
        ({"total": np.zeros(4, dtype="u1")}, "total"),
        ({"total": np.zeros((2, 2), dtype="<u4")}, "total"),
        ({"total": np.zeros(8, dtype="<u4")[::2]}, "total"),
        ({"total": np.frombuffer(bytes(8), dtype="<u4")}, "total"),
        ({"cipher": "aes-128-ctr"}, "cipher"),
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
    ],
)
def test_bad_input_is_refused_before_a_word_changes(changed, argument):
    given = {"total": np.zeros(8, dtype="<u4"), "keys": KEYS} | changed
    with pytest.raises(ParameterError) as caught:
        add_streams(given.pop("total"), given.pop("keys"), **given)
    assert caught.value.argument == argument


def test_no_key_gives_more_than_its_cipher_allows(monkeypatch):
    assert ciphers.MAX_BYTES["chacha20"] == 256 << 30
    monkeypatch.setitem(ciphers.MAX_BYTES, "chacha20", 64)
    stream_words(bytes(32), 32, 16, cipher="chacha20")
    with pytest.raises(ParameterError, match="aes-256-ctr"):
        stream_words(bytes(32), 33, 16, cipher="chacha20")
