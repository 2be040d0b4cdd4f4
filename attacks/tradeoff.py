"""Trade-off curves of privacy claims, and families of claims ordered by noise.

A claim bounds how much rarer an event may become when one record is added or removed.
Its curve says so in one function: an event of probability y under one input has at
least probability `curve(y)` under each neighbour. For a symmetric trade-off function f
(false alarms to least misses) that is `f(1 - y)`.

A curve may err low, never high: then refuting the curve refutes the claim. A straight
line between two points of a convex curve lies above it, so sampled points must not be
joined; `PrivacyProfile` takes the supporting lines, which lie below.

Source: Dong, Roth and Su, "Gaussian differential privacy", Journal of the Royal
Statistical Society B 84, 2022, section 2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from attacks.boundary import largest
from attacks.epsilon import check_delta, gaussian_epsilon
from attacks.errors import ParameterError
from attacks.ranking import Floats

Curve = Callable[[float], float]

_GRID = np.linspace(0.0, 1.0, 257)
_ROUNDING = 1e-9


class Family(Protocol):
    """Claims ordered by noise, each with a curve and an epsilon; hashable."""

    def __hash__(self) -> int: ...

    @property
    def assumes(self) -> str:
        """What a bound by this family takes for granted, in words."""

    def weakest_refuted(self, refuted: Callable[[Curve], bool], delta: float) -> float:
        """Return the epsilon at `delta` of the weakest refuted claim, 0 if none is."""


@dataclass(frozen=True, slots=True)
class GaussianFamily:
    """The claims "at most as telling as N(0, 1) against N(mu, 1)", mu-GDP.

    Sound for one release of Gaussian noise and for compositions without sampling.
    Composed *subsampled* noise has another shape: use a `SampledFamily` for it.
    """

    @property
    def assumes(self) -> str:
        """The shape, in words."""
        return "Gaussian trade-off assumed"

    def weakest_refuted(self, refuted: Callable[[Curve], bool], delta: float) -> float:
        """Return the epsilon of the largest refuted mu.

        Raises:
            ParameterError: delta = 0, at which the epsilon of a Gaussian is infinite.
        """
        if delta == 0:
            raise ParameterError(
                "A Gaussian mechanism has no finite epsilon at delta=0; use a delta "
                "above 0."
            )
        mu = largest(lambda mu: refuted(gaussian_curve(mu)))
        return gaussian_epsilon(mu, delta) if mu > 0 else 0.0


@dataclass(frozen=True, slots=True)
class AnyMechanism:
    """The claims "(epsilon, delta)-DP" and nothing more: no shape is assumed."""

    @property
    def assumes(self) -> str:
        """The shape, in words."""
        return "any (epsilon, delta)-DP mechanism"

    def weakest_refuted(self, refuted: Callable[[Curve], bool], delta: float) -> float:
        """Return the largest refuted epsilon."""
        return largest(lambda epsilon: refuted(approximate_curve(epsilon, delta)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrivacyProfile:
    """The claim "(epsilon_i, delta_i)-DP for every i", for adding and removing alike.

    What an accountant knows of a mechanism, for instance the upper bounds of a privacy
    loss distribution on composed subsampled noise. Fewer points, or larger deltas,
    claim less and so keep every refutation sound.

    Args:
        epsilons: ascending, at least 0, (n,).
        deltas: an upper bound on the delta of each, (n,).

    Raises:
        ParameterError: (caller) shapes, order or ranges are off.
    """

    epsilons: Floats
    deltas: Floats

    def __post_init__(self) -> None:
        e, d = self.epsilons, self.deltas
        if e.ndim != 1 or e.shape != d.shape or len(e) == 0:
            raise ParameterError(
                f"A profile needs as many deltas as epsilons, not shapes {e.shape} "
                f"and {d.shape}."
            )
        if not (np.isfinite(e).all() and e[0] >= 0 and (np.diff(e) > 0).all()):
            raise ParameterError("A profile's epsilons must ascend from at least 0.")
        if not ((d >= 0) & (d <= 1)).all():
            raise ParameterError("A profile's deltas must lie between 0 and 1.")

    def curve(self, y: float) -> float:
        """Return the highest of the claim's lines at y: convex, symmetric, exact."""
        # P <= e^eps P' + delta, and the same of the opposite event.
        seldom = np.exp(-self.epsilons) * (y - self.deltas)
        often = 1 - self.deltas - np.exp(self.epsilons) * (1 - y)
        return max(0.0, float(seldom.max()), float(often.max()))

    def epsilon(self, delta: float) -> float:
        """Return the smallest epsilon that the claim implies at `delta`.

        Between two points it implies what is linear in e^epsilon, as delta is convex
        there; beyond the last point it implies nothing.

        Raises:
            ParameterError: (caller) no point reaches this delta.
        """
        if not (self.deltas <= delta).any():
            raise ParameterError(
                f"The profile ends at delta={self.deltas.min():.3g}, above {delta}; "
                "give it larger epsilons."
            )
        i = int((self.deltas <= delta).argmax())
        if i == 0:
            return float(self.epsilons[0])
        before, here = float(self.deltas[i - 1]), float(self.deltas[i])
        low, high = float(self.epsilons[i - 1]), float(self.epsilons[i])
        share = (before - delta) / (before - here)
        return low + math.log1p(share * math.expm1(high - low))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampledFamily:
    """Profiles of one kind of mechanism at several amounts of noise.

    Guarantee: if the mechanism is of that kind, it has less noise than the last
    profile refuted; the bound is that profile's epsilon, as its accountant states it.

    Args:
        profiles: from the most noise to the least.
        kind: of mechanism, in words, for instance "Poisson-subsampled Gaussian, 1000
            steps at rate 0.01".

    Raises:
        ParameterError: (caller) no profile, or one claims less than a later one.
    """

    profiles: tuple[PrivacyProfile, ...]
    kind: str

    def __post_init__(self) -> None:
        if not self.profiles:
            raise ParameterError("A family needs at least one profile.")
        drawn = [[profile.curve(float(y)) for y in _GRID] for profile in self.profiles]
        if (np.diff(drawn, axis=0) > _ROUNDING).any():
            raise ParameterError("Order the profiles from the most noise to the least.")

    @property
    def assumes(self) -> str:
        """The shape, in words."""
        return f"trade-off of {self.kind} assumed"

    def weakest_refuted(self, refuted: Callable[[Curve], bool], delta: float) -> float:
        """Return the epsilon of the last refuted profile."""
        refutes, holds = -1, len(self.profiles)
        while holds - refutes > 1:
            middle = (refutes + holds) // 2
            if refuted(self.profiles[middle].curve):
                refutes = middle
            else:
                holds = middle
        return self.profiles[refutes].epsilon(delta) if refutes >= 0 else 0.0


GAUSSIAN = GaussianFamily()
ANY_MECHANISM = AnyMechanism()


def gaussian_curve(mu: float) -> Curve:
    """Return the curve of mu-GDP, `Phi(Phi^-1(y) - mu)`."""
    if not 0 <= mu < math.inf:
        raise ParameterError(f"mu={mu} must be finite and at least 0.")
    return lambda y: float(special.ndtr(special.ndtri(y) - mu))


def approximate_curve(epsilon: float, delta: float) -> Curve:
    """Return the curve of (epsilon, delta)-DP, the higher of its two lines."""
    if not 0 <= epsilon < math.inf:
        raise ParameterError(f"epsilon={epsilon} must be finite and at least 0.")
    check_delta(delta)
    often, seldom = math.exp(epsilon), math.exp(-epsilon)
    return lambda y: max(0.0, seldom * (y - delta), 1 - delta - often * (1 - y))


def tradeoff_curve(f: Callable[[float], float]) -> Curve:
    """Return the curve of a symmetric trade-off function given as a callable.

    Args:
        f: rate of false alarms to the least rate of misses, convex and its own inverse.
            If adding and removing a record differ, give the largest convex function
            below both, or a `PrivacyProfile` that covers both.

    Raises:
        ParameterError: (caller) on a grid of 257 points f leaves [0, 1 - x], rises, or
            is not convex, or not its own inverse.
    """
    values = np.array([f(float(x)) for x in _GRID])
    ok = ((values >= 0) & (values <= 1 - _GRID + _ROUNDING)).all()
    if not (ok and (np.diff(values) <= _ROUNDING).all()):
        raise ParameterError("A trade-off function falls from at most 1 - x to 0.")
    if (np.diff(values, n=2) < -_ROUNDING).any():
        raise ParameterError("A trade-off function is convex; this one is not.")
    back = np.array([f(float(value)) for value in values])
    # Where f has fallen to 0 its inverse is the smallest such x, so <= and not ==.
    if (back > _GRID + 1e-6).any():
        raise ParameterError(
            "The trade-off function is not its own inverse; give the largest convex "
            "one below it and its inverse."
        )
    return lambda y: f(1 - y)
