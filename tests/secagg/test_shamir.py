import itertools
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import shamir
from secagg.errors import DecodeError, ParameterError
from secagg.keys import Secret
from secagg.ring import Ring
from secagg.shamir import (
    LIMBS,
    PRIME,
    SHARE_BYTES,
    Share,
    deal,
    interpolate,
    limbs_to_secret,
    reconstruct,
)


def slow_value_at_zero(points: list[tuple[int, int]], prime: int) -> int:
    """Interpolate with one modular inverse per term, straight from the formula."""
    total = 0
    for i, (x, y) in enumerate(points):
        term = y
        for j, (other, _) in enumerate(points):
            if i != j:
                term = term * other * pow(other - x, -1, prime) % prime
        total += term
    return total % prime


def test_oracle_matches_federated_compute_example():
    # google/federated-compute: p = 2^31 + 11, t = 3, the low limb of shares 1..5.
    shares = [0x6ED4AA1C, 0x26EB91CC, 0x2844B747, 0x72E01A8D, 0x06BDBB88]
    prime = (1 << 31) + 11
    for chosen in itertools.combinations(enumerate(shares, 1), 3):
        assert slow_value_at_zero(list(chosen), prime) == 33


def limbs_of(value: bytes) -> list[int]:
    """Read 16 values of 17 bits, lowest bit first, bit by bit."""
    bits = [byte >> i & 1 for byte in value for i in range(8)]
    return [
        sum(bit << i for i, bit in enumerate(bits[17 * limb : 17 * limb + 17]))
        for limb in range(16)
    ]


def share_of(x: int, limbs: list[int]) -> Share:
    """Write 16 values of 17 bits."""
    number = sum(value << (17 * i) for i, value in enumerate(limbs))
    return Share(x, number.to_bytes(34, "little"))


def slow_secret(shares: list[Share]) -> bytes:
    """Interpolate limb by limb with Python integers."""
    rows = [(share.x, limbs_of(share.value)) for share in shares]
    limbs = [
        slow_value_at_zero([(x, row[i]) for x, row in rows], 65537) for i in range(16)
    ]
    return b"".join(limb.to_bytes(2, "little") for limb in limbs)


def deal_one(secret: bytes, *, threshold: int, holders: list[int]) -> list[Share]:
    return [s for (s,) in deal([Secret(secret)], threshold=threshold, holders=holders)]


def test_prime_is_the_smallest_with_room_for_a_limb():
    assert PRIME == 65537 == (1 << 16) + 1
    assert all(PRIME % k for k in range(2, 257))
    assert LIMBS * 16 == 256 and LIMBS * 17 == 8 * SHARE_BYTES


@settings(max_examples=60, deadline=None)
@given(data=st.data(), secret=st.binary(min_size=32, max_size=32))
def test_any_threshold_shares_give_the_secret(data, secret):
    n = data.draw(st.integers(1, 12))
    t = data.draw(st.integers(1, n))
    holders = data.draw(
        st.lists(st.integers(1, 65536), min_size=n, max_size=n, unique=True)
    )
    shares = deal_one(secret, threshold=t, holders=holders)
    assert [share.x for share in shares] == holders
    chosen = data.draw(st.permutations(shares))[:t]
    assert reconstruct(chosen) == Secret(secret)
    assert slow_secret(chosen) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\xff\x00" * 16])
def test_extreme_secrets_come_back(secret):
    shares = deal_one(secret, threshold=3, holders=[65536, 1, 65535, 2])
    assert reconstruct(shares[1:]) == Secret(secret)


def test_many_secrets_and_holders_agree_with_the_slow_formula():
    secrets = [os.urandom(32), os.urandom(32)]
    dealt = list(deal([Secret(s) for s in secrets], threshold=40, holders=range(1, 90)))
    for which, secret in enumerate(secrets):
        chosen = random.Random(which).sample([row[which] for row in dealt], 40)
        assert slow_secret(chosen) == secret
        assert reconstruct(chosen) == Secret(secret)


def test_owners_are_combined_together_as_one_by_one():
    rng = random.Random(5)
    secrets = [os.urandom(32) for _ in range(30)]
    rows = []
    for owner, secret in enumerate(secrets):
        shares = deal_one(secret, threshold=4, holders=list(range(1, 12)))
        rows.append(shares[:4] if owner % 2 else rng.sample(shares, 4))
    together = interpolate(rows)
    assert [limbs_to_secret(row) for row in together] == [Secret(s) for s in secrets]


def test_tiles_do_not_change_the_values(monkeypatch):
    secret = os.urandom(32)
    monkeypatch.setattr(shamir, "_TILE", 16)  # a row, an owner at a time
    rows = [deal_one(secret, threshold=9, holders=range(1, 20))[i:][:9] for i in (0, 5)]
    assert [limbs_to_secret(row) for row in interpolate(rows)] == [Secret(secret)] * 2


def test_reduction_is_exact_over_the_whole_range():
    edges = [k * 65537 + d for k in (0, 1, 2, 65535, 2**36) for d in (-1, 0, 1)]
    edges += [2**53 - 1, 2**53, 2**48, 2**48 - 1, 2**32, 2**16, 2**16 - 1]
    random_ones = random.Random(1).choices(range(2**53), k=20_000)
    sums = [value for value in edges if value >= 0] + random_ones
    reduced = shamir._reduce(np.array(sums, dtype=np.float64))
    assert reduced.tolist() == [value % 65537 for value in sums]


def test_fewer_shares_are_consistent_with_every_secret():
    # With t - 1 shares, each secret has exactly one polynomial through them.
    shares = deal_one(b"a" * 32, threshold=3, holders=[1, 2, 3])[:2]
    points = [(s.x, limbs_of(s.value)[7]) for s in shares]
    for guess in (0, 1, PRIME - 1):
        third = slow_value_at_zero(
            [(x - 3, y) for x, y in [*points, (0, guess)]], PRIME
        )
        assert slow_value_at_zero([*points, (3, third)], PRIME) == guess


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_a_share_below_the_threshold_is_uniform_whatever_the_secret(secret):
    values = [
        limb
        for _ in range(500)
        for limb in limbs_of(deal_one(secret, threshold=2, holders=[1, 2])[0].value)
    ]
    counts, _ = np.histogram(values, bins=16, range=(0, 65537))
    expected = len(values) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 50  # 15 degrees: p = 1e-5


def test_coefficients_are_uniform_field_elements_from_the_words_drawn():
    words = [0, 1, 65536, 65537, 2**32 - 2, 2**32 - 1, 2**31]
    stream = b"".join(w.to_bytes(4, "little") for w in [*words, 12345])

    starts = iter([0, 28])

    def rng(count):
        start = next(starts)
        return stream[start : start + count]

    drawn = shamir._uniform(rng, 7).tolist()
    kept = [12345 if w == 2**32 - 1 else w for w in words]  # drawn once more
    assert drawn == [w % 65537 for w in kept]


def test_a_source_that_repeats_itself_is_refused():
    with pytest.raises(ParameterError, match="rng"):
        list(
            deal(
                [Secret(bytes(32))],
                threshold=2,
                holders=[1, 2],
                rng=lambda count: b"\xff" * count,
            )
        )


def test_one_wrong_share_gives_a_wrong_secret_or_an_error():
    secret = os.urandom(32)
    shares = deal_one(secret, threshold=3, holders=[1, 2, 3])
    limbs = limbs_of(shares[0].value)
    limbs[3] = (limbs[3] + 1) % PRIME
    shares[0] = share_of(1, limbs)
    try:
        assert reconstruct(shares) != Secret(secret)
    except DecodeError:
        pass


@pytest.mark.parametrize(
    ("x", "value"),
    [
        (0, bytes(34)),
        (65537, bytes(34)),
        (1, bytes(33)),
        (1, bytes(35)),
        (1, b"\xff" * 34),
        (1, (65537).to_bytes(34, "little")),
        (1, (65537 << 17 * 15).to_bytes(34, "little")),
        (1, (0x18000 << 17 * 4).to_bytes(34, "little")),
    ],
)
def test_shares_that_are_not_canonical_are_refused(x, value):
    with pytest.raises(DecodeError):
        Share(x, value)


@settings(max_examples=200, deadline=None)
@given(limbs=st.lists(st.integers(0, 131071), min_size=16, max_size=16))
def test_exactly_the_field_elements_are_canonical(limbs):
    if max(limbs) <= 65536:
        assert limbs_of(share_of(1, limbs).value) == limbs
    else:
        with pytest.raises(DecodeError):
            share_of(1, limbs)


@pytest.mark.parametrize("limb", [0, 15])
def test_largest_field_element_is_accepted_but_is_no_secret(limb):
    share = share_of(1, [65536 if i == limb else 7 for i in range(16)])
    with pytest.raises(DecodeError):
        reconstruct([share])


def test_repeated_or_missing_shares_are_refused():
    first, second = deal_one(bytes(32), threshold=1, holders=[1, 2])
    for bad in ([[first, first]], [[]], [[first], [first, second]]):
        with pytest.raises(DecodeError):
            interpolate(bad)
    assert interpolate([]).shape == (0, 16)


@pytest.mark.parametrize(
    ("size", "threshold", "holders"),
    [
        (31, 1, [1]),
        (32, 0, [1]),
        (32, 3, [1, 2]),
        (32, 1, [0, 1]),
        (32, 1, [1, 1]),
        (32, 1, [1, 65537]),
        (32, 1, []),
    ],
)
def test_deal_refuses_bad_arguments(size, threshold, holders):
    with pytest.raises(ParameterError):
        deal([Secret(bytes(size))], threshold=threshold, holders=holders)


def test_shares_do_not_print():
    assert repr(deal_one(b"s" * 32, threshold=1, holders=[1])[0]) == "Share(x=1)"


def test_each_power_has_a_coefficient_of_its_own():
    # With one coefficient for all powers, two shares of three would give any limb.
    (_, one), (_, two) = (
        (share.x, Ring(17).unpack(share.value, LIMBS).astype(int))
        for (share,) in list(
            deal([Secret(bytes(32))], threshold=3, holders=[1, 2, 3], rng=os.urandom)
        )[:2]
    )
    # f(1) = a + b and f(2) = 2 a + 4 b for a secret of zeros; a = b if 3 f(1) = f(2).
    assert ((3 * one - two) % PRIME != 0).any()
