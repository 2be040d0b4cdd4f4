"""Which lattice a sum is encrypted over: N and q, by the ring's bits and the clients.

BFV (Fan and Vercauteren, ePrint 2012/144) over Z_q[X] / (X^N + 1) with a plain modulus
t = 2^r.  Every entry below is at the 128 bits of the Homomorphic Encryption Standard
(2018, table 1: 54 bits of modulus for N = 2048, 109 for N = 4096, the special prime
counted), with primes that are 1 modulo 2 N.

Decryption never fails.  A ciphertext (c0, c1) holds c0 + c1 s = round(q m / t) + v, a
sum of n of them has noise below n max |v|, and decryption is right while that is below
q / (2 t).  ``Moduli.most_clients`` leaves half of it unused.  Attacks on exact schemes
start from failures (ePrint 2024/127), so the bound is over all randomness, not likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from secagg.errors import ParameterError
from secagg.ring import Ring

MOST_RING_BITS: Final = 59  # SEAL's plain modulus ends at 60 bits
_ERROR: Final = 21  # largest error of SEAL's sampler: a centred binomial of 42 coins


class Scheme(IntEnum):
    """How clients encrypt; the byte of a frame (1 was the format of release 0.1)."""

    PUBLIC = 2
    """With the public key: an upload is c0 and c1."""
    COMPACT = 3
    """With the secret key: an upload is c0, and the seed that c1 is drawn from."""


@dataclass(frozen=True, slots=True)
class Moduli:
    """N, the primes of q, and the special prime p that SEAL sets apart besides.

    Encryption under a public key happens modulo q p and is then divided by p, which
    rounds its noise away.  SEAL also wants one for more than a prime of q.
    """

    scheme: Scheme
    degree: int
    primes: tuple[int, ...]
    special: int | None

    @property
    def ring(self) -> Ring:
        """Bits that one coefficient modulo one prime takes on the wire."""
        return Ring(self.primes[0].bit_length())

    @property
    def modulus(self) -> int:
        """The modulus q."""
        return math.prod(self.primes)

    @property
    def fresh_noise(self) -> int:
        """Largest |v| of one upload, whatever its randomness.

        Under the secret key v = -e and the rounding of the message.  Under the public
        key, (e u + e' + e'' s) / p for ternary u and s, the rounding of both divisions
        and of the message, which is B (2 N + 1) / p + (1 + N) / 2 + 1 / 2.
        """
        if self.scheme is Scheme.COMPACT or self.special is None:
            return _ERROR + 1
        rounded = -(-_ERROR * (2 * self.degree + 1) // self.special)
        return rounded + self.degree // 2 + 1

    def most_clients(self, ring_bits: int) -> int:
        """Return how many uploads may be added for a ring of so many bits."""
        return self.modulus // ((4 << ring_bits) * self.fresh_noise)


_PUBLIC_KEY: Final = (
    (2048, (0xFFFFD001,), 0x3FA001),
    (2048, (0xFFFFFF7001,), 0x3001),
    (4096, (0xFFFFFFFFC001,), 0xFFFFFFFFFFFC001),
    (4096, (0xFFFFFFFFFFFC001,), 0x1FFFFFFFCE001),
    (4096, (0x1FFFFDE001, 0x1FFFFE0001), 0x7FFFF6001),
    (4096, (0xFFFFFFA2001, 0xFFFFFFFC001), 0x1F6001),
)
# SEAL spends as much on saving a ciphertext as on making it, so these are longer than
# the bits alone would ask for.
_SECRET_KEY: Final = (
    (4096, (0xFFFDE001,), None),
    (4096, (0xFFFFFDC001,), None),
    (4096, (0xFFFFFFFFC001,), None),
    (4096, (0x3FFFFFFFFD6001,), None),
    (4096, (0xFFFFFFFFFFFC001,), None),
    (4096, (0x1FFFFDE001, 0x1FFFFE0001), 0x7FFFF6001),
)
TABLES: Final = {
    Scheme.PUBLIC: tuple(Moduli(Scheme.PUBLIC, *row) for row in _PUBLIC_KEY),
    Scheme.COMPACT: tuple(Moduli(Scheme.COMPACT, *row) for row in _SECRET_KEY),
}
"""By bytes on the wire, fewest first."""


def choose(scheme: Scheme, ring_bits: int, clients: int) -> Moduli:
    """Return the moduli of fewest bytes that hold such sums.

    Raises:
        ParameterError: None do (caller).
    """
    table = TABLES[scheme]
    if ring_bits > MOST_RING_BITS:
        raise ParameterError(
            f"an encrypted sum over clients={clients} needs {ring_bits} bits, more "
            f"than {MOST_RING_BITS}; lower value_bits or weight_max.",
            argument="encoder",
        )
    fitting = (one for one in table if clients <= one.most_clients(ring_bits))
    found = next(fitting, None)
    if found is None:
        most = table[-1].most_clients(ring_bits)
        raise ParameterError(
            f"clients={clients} must lie in 1..{most} for a ring of {ring_bits} bits, "
            "or sums could not be decrypted; lower value_bits or weight_max.",
            argument="clients",
        )
    return found
