"""What may be summed, and how finely: the encoder's numbers and the bounds they give.

A client's vector v with an L2 norm of at most C becomes integers q with |q| <= 2^(b-1)
- 1 for b = ``value_bits``, multiplied by an integer weight.  From these numbers follow
the error of a mean, and a ring so wide that no sum of n clients wraps (Bonawitz et al.,
arXiv 1912.00131, section 3).  The bounds hold for whatever passes the checks in
``offered``.

This module computes no encoding (that is ``encode``), and it never clips.
"""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass, replace
from typing import Final, Self, SupportsIndex

import numpy as np

from secagg.errors import DecodeError, ParameterError
from secagg.precision import Precision, precision

NORM_TOLERANCE: Final = 2.0**-16
"""Relative excess of the norm that is let pass: a clip computed in float32 is off."""
_CLIP_RANGE: Final = (2.0**-64, 2.0**64)
_WIRE: Final = struct.Struct("<dBIB")
ENCODER_BYTES: Final = _WIRE.size
_VALUE_BITS: Final = (2, 32)
_ROTATE, _PRESCALE = 1, 2  # bits of the flags on the wire
_NOISE_SHIFT: Final = 2  # the other six hold noise_bits
_NOISE_BITS: Final = (0, 62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """How vectors become integers; part of what all parties agree on.

    Rotation pays for long vectors in few bits: from 100,000 values on, a wanted error
    is met with 3 to 5 bits less on the wire.  Encoding takes about three times as long,
    and the bound on the error then holds but for a stated probability.  It is off by
    default, because at the default 24 bits the error is far below what training notices
    either way; ``for_error`` turns it on where it saves bits.

    Attributes:
        clip_norm_l2: Largest L2 norm that ``Client.offer`` accepts, but for a relative
            2^-16 that lets a clip computed in float32 pass.
        value_bits: Bits of one rounded value, sign included; 2..32.
        weight_max: Largest integer weight of one client.
        rotate: Rotate vectors of 64 and more values by a public rotation that follows
            from the context, so that no coordinate is large (``rotation``).
        prescale: Scale a vector by weight / weight_max before it is rounded, instead of
            multiplying the integers: the ring needs no bits for weights, but a client
            that weighs w is rounded log2(weight_max / w) bits more coarsely.
        noise_bits: Bits of the noise that every client adds to one rounded value, sign
            included (``Client.offer``); 0 if nobody adds any, else 2..62, and then all
            weigh 1.

    Raises:
        ParameterError: An attribute is outside its range (caller).
    """

    clip_norm_l2: float = 16.0
    value_bits: int = 24
    weight_max: int = 65535
    rotate: bool = False
    prescale: bool = False
    noise_bits: int = 0

    def __post_init__(self) -> None:
        # A numpy scalar would compute the bounds below in its own few bits.
        clip = _check_norm(self.clip_norm_l2)
        value_bits = check_integer("value_bits", self.value_bits, *_VALUE_BITS)
        weight_max = check_integer("weight_max", self.weight_max, 1, (1 << 32) - 1)
        object.__setattr__(self, "clip_norm_l2", clip)
        object.__setattr__(self, "value_bits", value_bits)
        object.__setattr__(self, "weight_max", weight_max)
        for name in ("rotate", "prescale"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise ParameterError(
                    f"{name}={value!r} must be True or False.", argument=name
                )
            object.__setattr__(self, name, bool(value))
        noise_bits = check_integer("noise_bits", self.noise_bits, *_NOISE_BITS)
        object.__setattr__(self, "noise_bits", noise_bits)
        if noise_bits == 1 or (noise_bits and (weight_max > 1 or self.prescale)):
            raise ParameterError(
                f"noise_bits={noise_bits} must be 0 or at least 2, and noise needs "
                "weight_max=1 without prescale: a weight would say more of its client "
                "than the noise hides.",
                argument="noise_bits",
            )

    @classmethod
    def for_error(
        cls,
        max_error: float,
        *,
        clients: int,
        length: int,
        clip_norm_l2: float = 16.0,
        weight_max: int = 65535,
        rotate: bool | None = None,
        prescale: bool = False,
    ) -> Self:
        """Return the encoder of fewest bits that keeps a mean within ``max_error``.

        Args:
            max_error: Largest |mean - true weighted mean| of a coordinate, in units of
                the input; see ``Precision.max_error`` for what it promises.
            clients: Largest number of clients in a sum.
            length: Values of a vector.
            clip_norm_l2: Largest L2 norm.
            weight_max: Largest weight.
            rotate: None takes rotation where it saves bits.
            prescale: As in ``Encoder``.

        Raises:
            ParameterError: No number of bits meets the error, or a ring of 64 bits
                cannot hold them (caller).
        """
        wide = cls(
            clip_norm_l2=clip_norm_l2,
            value_bits=_VALUE_BITS[1],
            weight_max=weight_max,
            prescale=prescale,
        )
        turns = (False, True) if rotate is None else (rotate,)
        found = [
            encoder
            for bits in range(_VALUE_BITS[0], _VALUE_BITS[1] + 1)
            for encoder in (replace(wide, value_bits=bits, rotate=r) for r in turns)
            if encoder.at(length).max_error <= max_error
        ]
        if not found:
            least = min(replace(wide, rotate=r).at(length).max_error for r in turns)
            raise ParameterError(
                f"max_error={max_error:.3g} is out of reach: {wide.value_bits} bits "
                f"give {least:.3g} for clip_norm_l2={wide.clip_norm_l2:.8g}; allow a "
                "larger error or lower clip_norm_l2.",
                argument="max_error",
            )
        found[0].ring_bits(clients)
        return found[0]

    @property
    def linf_bound(self) -> int:
        """Largest |q| of one coordinate before weighting, as an integer."""
        return int((1 << (self.value_bits - 1)) - 1)

    @property
    def noise_bound(self) -> int:
        """Largest |noise| that one client adds to one coordinate."""
        return int((1 << (self.noise_bits - 1)) - 1) if self.noise_bits else 0

    @property
    def sum_bound(self) -> int:
        """Largest |integer| that one client of weight 1 adds to a coordinate."""
        return self.linf_bound + self.noise_bound

    @property
    def scale(self) -> float:
        """Integer steps per unit of the input; without rotation.

        Raises:
            ParameterError: With rotation it depends on the length (caller).
        """
        return self._plain.scale

    @property
    def norm_limit(self) -> float:
        """Largest accepted norm: ``clip_norm_l2`` and a float32 rounding more."""
        return self.clip_norm_l2 * (1 + NORM_TOLERANCE)

    @property
    def max_error(self) -> float:
        """Bound on |mean - true weighted mean| per coordinate, for given survivors.

        It holds for all weights and lengths; ``at`` has it with rotation.

        Raises:
            ParameterError: With rotation it depends on the length (caller).
        """
        return self._plain.max_error

    def l2_bound(self, length: int) -> float:
        """Largest L2 norm of the integers q of one client, without noise or weight."""
        return self.at(length).l2_bound

    def at(self, length: int, *, mean_weight: float = 1.0) -> Precision:
        """Return scale, bounds, error and saturation for vectors of one length.

        Args:
            length: Values of a vector.
            mean_weight: Mean weight of the clients in a sum, at least 1; matters with
                ``prescale`` only, where the error is largest if all weigh 1.
        """
        return precision(
            norm_limit=self.norm_limit,
            value_bits=self.value_bits,
            length=length,
            rotate=self.rotate,
            coarseness=self.weight_max / mean_weight if self.prescale else 1.0,
            noise_bound=self.noise_bound,
        )

    def ring_bits(self, clients: int) -> int:
        """Return r, the bits of a ring in which no sum over ``clients`` wraps.

        r = value_bits + ceil(log2(clients * weight_max)): the largest |sum| is
        clients * weight_max * (2^(value_bits-1) - 1) < 2^(r-1).  With ``prescale`` it
        is value_bits + ceil(log2(clients)), or what the sum of the weights needs; with
        noise, what clients * ``sum_bound`` needs.

        Raises:
            ParameterError: r exceeds 64 (caller).
        """
        if self.noise_bits:
            bits = 1 + (clients * self.sum_bound).bit_length()
        elif self.prescale:
            values = self.value_bits + (clients - 1).bit_length()
            bits = max(values, (clients * self.weight_max).bit_length())
        else:
            bits = self.value_bits + (clients * self.weight_max - 1).bit_length()
        if bits > 64:
            other = "noise_bits" if self.noise_bits else "weight_max"
            raise ParameterError(
                f"value_bits={self.value_bits} and {other}={getattr(self, other)} need "
                f"a ring of {bits} bits for {clients} clients, more than 64; lower "
                f"value_bits or {other}.",
                argument="encoder",
            )
        return bits

    def encode(self) -> bytes:
        """Return the canonical bytes: clip norm, value bits, largest weight, flags."""
        flags = _ROTATE * self.rotate | _PRESCALE * self.prescale
        flags |= self.noise_bits << _NOISE_SHIFT
        return _WIRE.pack(self.clip_norm_l2, self.value_bits, self.weight_max, flags)

    @property
    def _plain(self) -> Precision:
        if self.rotate:
            raise ParameterError(
                "scale and max_error of a rotating encoder depend on the length; use "
                "encoder.at(length).",
                argument="encoder",
            )
        return self.at(1)


def decode_encoder(data: bytes) -> Encoder:
    """Read the canonical bytes of an encoder, ``ENCODER_BYTES`` of them.

    Raises:
        DecodeError: They are not the encoding of a valid encoder (peer).
    """
    clip, value_bits, weight_max, flags = _WIRE.unpack(data)
    try:
        encoder = Encoder(
            clip_norm_l2=clip,
            value_bits=value_bits,
            weight_max=weight_max,
            rotate=bool(flags & _ROTATE),
            prescale=bool(flags & _PRESCALE),
            noise_bits=flags >> _NOISE_SHIFT,
        )
    except ParameterError as error:
        raise DecodeError(f"received encoder is invalid: {error}") from error
    if encoder.encode() != data:
        raise DecodeError("received encoder is not in canonical encoding.")
    return encoder


def check_integer(name: str, value: SupportsIndex, low: int, high: int) -> int:
    """Return a public number as an int in low..high.

    Raises:
        ParameterError: It is not an integer or out of range (caller).
    """
    if isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name}={value} must be an integer.", argument=name)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ParameterError(
            f"{name}={value!r} must be an integer in {low}..{high}.", argument=name
        ) from error
    if not low <= number <= high:
        raise ParameterError(
            f"{name}={number} must lie in {low}..{high}.", argument=name
        )
    return number


def _check_norm(value: float) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    ):
        norm = float(value)
        if _CLIP_RANGE[0] <= norm <= _CLIP_RANGE[1]:
            return norm
    raise ParameterError(
        f"clip_norm_l2={value!r} must be a number in 2^-64..2^64.",
        argument="clip_norm_l2",
    )
