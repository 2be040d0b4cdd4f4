"""A client's share of noise: added once, exactly, within its room, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import secagg
from secagg import encode
from secagg.encoder import Encoder, decode_encoder
from secagg.errors import DecodeError, IntegrityError, ParameterError
from secagg.he import EncryptedSum
from secagg.noise import Noise
from secagg.prg import Rng
from secagg.round import RoundResult, run_round

LENGTH = 40
ENCODER = Encoder(clip_norm_l2=1.0, value_bits=12, weight_max=1, noise_bits=9)
PLAN = secagg.plan(clients=5, corrupt=1, drop=1, encoder=ENCODER)
CONTEXT = secagg.context(b"noise")


def _uniform(length: int, rng: Rng) -> NDArray[np.int64]:
    """Return integers in -128..127 from the client's own source."""
    return np.frombuffer(rng(length), dtype=np.int8).astype(np.int64)


def _play(noise: Noise, *, update: float = 0.0, vanish: str = "") -> RoundResult:
    updates = {f"c{i}": np.full(LENGTH, update) for i in range(5)}
    return run_round(
        PLAN,
        updates,
        seed=5,
        noise=noise,
        vanish={"c2": vanish} if vanish else {},
    )


def _steps(result: RoundResult) -> NDArray[np.int64]:
    """Return the integers that were summed."""
    total = result.mean.astype(np.float64) * result.weight * ENCODER.scale
    assert np.allclose(total, np.rint(total), atol=1e-3)
    return np.rint(total).astype(np.int64)


@pytest.mark.parametrize("vanish", ["", "masked_input", "unmask"])
def test_the_sum_holds_the_noise_of_exactly_the_survivors(vanish: str) -> None:
    shares = []

    def recorded(length: int, rng: Rng) -> NDArray[np.int64]:
        assert length == LENGTH
        shares.append(_uniform(length, rng))
        return shares[-1]

    result = _play(recorded, vanish=vanish)
    assert len(shares) == 5  # once per client, in the roster's order
    kept = [s for i, s in enumerate(shares) if f"c{i}" in result.survivors]
    assert len(kept) == (4 if vanish == "masked_input" else 5)
    assert np.array_equal(_steps(result), np.sum(kept, axis=0))
    assert len({share.tobytes() for share in shares}) == 5


def test_noise_is_added_after_rounding_and_is_part_of_the_stated_error() -> None:
    result = _play(_uniform, update=0.01)
    assert np.abs(result.mean - 0.01).max() <= result.max_error
    silent = Encoder(clip_norm_l2=1.0, value_bits=12, weight_max=1)
    assert ENCODER.max_error - silent.max_error == pytest.approx(255 / silent.scale)
    turned = replace(ENCODER, rotate=True)
    still = replace(turned, noise_bits=0)
    added = turned.at(400).max_error - still.at(400).max_error
    assert added == pytest.approx(20 * 255 / still.at(400).scale, rel=1e-3)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("clients", [1, 2, 3, 100])
def test_the_largest_values_and_noise_never_wrap(clients: int, sign: int) -> None:
    where = encode.layout(ENCODER, clients=clients, length=1)
    most = sign * clients * (ENCODER.linf_bound + 255)
    word = where.ring.from_signed(np.array([most]))
    assert where.ring.center(word)[0] == most
    assert where.ring.bits == 1 + (clients * ENCODER.sum_bound).bit_length()


@pytest.mark.parametrize("excess", [0, 1])
def test_a_sum_beyond_values_and_noise_is_refused(excess: int) -> None:
    where = encode.layout(ENCODER, clients=3, length=1)
    words = where.ring.zeros(where.words)
    most = 3 * (ENCODER.linf_bound + 255) + excess
    words[0] = where.ring.from_signed(np.array([most]))[0]
    words[1] = 3
    encode.seal(where, words, b"round", CONTEXT)
    if excess:
        with pytest.raises(IntegrityError):
            encode.decode_sum(ENCODER, where, words, b"round", CONTEXT, clients=3)
    else:
        encode.decode_sum(ENCODER, where, words, b"round", CONTEXT, clients=3)


def _constant(value: int) -> Noise:
    return lambda length, rng: np.full(length, value)


BAD: dict[str, tuple[Any, str]] = {
    "none": (None, "expects noise"),
    "floats": (lambda length, rng: np.zeros(length), "int64"),
    "narrow": (lambda length, rng: np.zeros(length, dtype=np.int32), "int64"),
    "short": (lambda length, rng: np.zeros(length - 1, dtype=np.int64), "int64"),
    "square": (lambda length, rng: np.zeros((length, 1), dtype=np.int64), "int64"),
    "masked": (
        lambda length, rng: np.ma.masked_greater(np.arange(length) + 250, 255),
        "int64",
    ),
    "list": (lambda length, rng: [0] * length, "int64"),
    "large": (_constant(256), "beyond"),
    "small": (_constant(-256), "beyond"),
    "least": (_constant(-(2**63)), "beyond"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_noise_is_refused_and_the_caller_may_offer_again(name: str) -> None:
    noise, words = BAD[name]
    client = secagg.Client(PLAN, secagg.Policy(min_clients=5), me="c0")
    with pytest.raises(ParameterError, match=words) as refused:
        client.offer(np.zeros(LENGTH), context=CONTEXT, noise=noise)
    assert refused.value.argument == "noise"
    assert not client.aborted
    assert client.offer(np.zeros(LENGTH), context=CONTEXT, noise=_constant(255)) == ()


def test_noise_without_room_or_with_weights_is_refused() -> None:
    plan = replace(PLAN, encoder=replace(ENCODER, noise_bits=0))
    client = secagg.Client(plan, secagg.Policy(min_clients=5), me="c0")
    with pytest.raises(ParameterError, match="no room"):
        client.offer(np.zeros(LENGTH), context=CONTEXT, noise=_constant(0))
    client = secagg.Client(PLAN, secagg.Policy(min_clients=5), me="c0")
    with pytest.raises(ParameterError, match="weight"):
        client.offer(np.zeros(LENGTH), weight=2, context=CONTEXT, noise=_constant(0))
    for change in ({"weight_max": 2}, {"prescale": True}, {"noise_bits": 1}):
        with pytest.raises(ParameterError, match="noise_bits"):
            replace(ENCODER, **change)
    with pytest.raises(ParameterError, match="noise_bits"):
        replace(ENCODER, noise_bits=63)
    with pytest.raises(ParameterError, match="lower value_bits or noise_bits"):
        replace(ENCODER, noise_bits=62).ring_bits(100)
    with pytest.raises(ParameterError, match="takes no noise"):
        EncryptedSum(encoder=ENCODER, clients=5)


def test_room_for_noise_is_agreed_on_and_old_bytes_stay() -> None:
    for bits in (0, 2, 9, 62):
        encoder = replace(ENCODER, noise_bits=bits)
        assert decode_encoder(encoder.encode()) == encoder
        assert encoder.encode()[:-1] == ENCODER.encode()[:-1]
        assert encoder.encode()[-1] == 4 * bits
    with pytest.raises(DecodeError):
        decode_encoder(ENCODER.encode()[:-1] + bytes([4]))  # one bit holds no sign
    assert replace(PLAN, encoder=replace(ENCODER, noise_bits=10)) != PLAN
