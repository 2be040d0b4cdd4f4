import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import shamir
from secagg.errors import DecodeError, ParameterError
from secagg.keys import Secret
from secagg.shamir import PRIME, Share, deal, reconstruct


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


def test_prime_is_the_smallest_above_2_to_256():
    def is_probable_prime(number: int) -> bool:
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
            power = pow(base, odd, number)
            if power in (1, number - 1):
                continue
            for _ in range(twos - 1):
                power = power * power % number
                if power == number - 1:
                    break
            else:
                return False
        return True

    primes = [k for k in range(1, 298) if is_probable_prime((1 << 256) + k)]
    assert primes == [PRIME - (1 << 256)]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), secret=st.binary(min_size=32, max_size=32))
def test_any_threshold_shares_give_the_secret(data, secret):
    n = data.draw(st.integers(1, 12))
    t = data.draw(st.integers(1, n))
    holders = data.draw(st.permutations(range(1, n + 1)))
    shares = deal(Secret(secret), threshold=t, holders=holders)
    chosen = data.draw(st.permutations(shares))[:t]
    assert reconstruct(chosen) == Secret(secret)
    points = [(s.x, int.from_bytes(s.value, "little")) for s in chosen]
    assert slow_value_at_zero(points, PRIME) == int.from_bytes(secret, "little")


def test_fewer_shares_are_consistent_with_every_secret():
    # With t - 1 shares, each secret has exactly one polynomial through them.
    shares = deal(Secret(b"a" * 32), threshold=3, holders=[1, 2, 3])[:2]
    points = [(s.x, int.from_bytes(s.value, "little")) for s in shares]
    for guess in (0, 1, PRIME - 1):
        third = slow_value_at_zero(
            [(x - 3, y) for x, y in [*points, (0, guess)]], PRIME
        )
        assert slow_value_at_zero([*points, (3, third)], PRIME) == guess


def test_one_wrong_share_gives_a_wrong_secret_or_an_error():
    secret = Secret(os.urandom(32))
    shares = list(deal(secret, threshold=3, holders=[1, 2, 3]))
    wrong = (int.from_bytes(shares[0].value, "little") + 1) % PRIME
    shares[0] = Share(1, wrong.to_bytes(33, "little"))
    try:
        assert reconstruct(shares) != secret
    except DecodeError:
        pass


@pytest.mark.parametrize(
    ("x", "value"),
    [
        (0, bytes(33)),
        (1, bytes(32)),
        (1, bytes(34)),
        (1, PRIME.to_bytes(33, "little")),
        (1, b"\xff" * 33),
    ],
)
def test_shares_that_are_not_canonical_are_refused(x, value):
    with pytest.raises(DecodeError):
        Share(x, value)


def test_largest_field_element_is_accepted_but_is_no_secret():
    share = Share(1, (PRIME - 1).to_bytes(33, "little"))
    with pytest.raises(DecodeError):
        reconstruct([share])


def test_repeated_or_missing_shares_are_refused():
    share = deal(Secret(bytes(32)), threshold=1, holders=[1])[0]
    with pytest.raises(DecodeError):
        reconstruct([share, share])
    with pytest.raises(DecodeError):
        reconstruct([])


@pytest.mark.parametrize(
    ("size", "threshold", "holders"),
    [
        (31, 1, [1]),
        (32, 0, [1]),
        (32, 3, [1, 2]),
        (32, 1, [0, 1]),
        (32, 1, [1, 1]),
        (32, 1, []),
    ],
)
def test_deal_refuses_bad_arguments(size, threshold, holders):
    with pytest.raises(ParameterError):
        deal(Secret(bytes(size)), threshold=threshold, holders=holders)


def test_shares_do_not_print():
    share = deal(Secret(b"s" * 32), threshold=1, holders=[1])[0]
    assert repr(share) == "Share(x=1)"
    assert shamir.lagrange_at_zero((1,)) == (1,)
