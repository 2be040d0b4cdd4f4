"""What a run's epsilon means, in sentences: the part of a report that people sign.

    for sentence in statement(claim): ...
    json.dumps(statement_json(claim))

The elements are those that NIST SP 800-226 ("Guidelines for evaluating differential
privacy guarantees") asks about: the unit and its neighbours, the mechanism, the
parameters, how units are sampled, composition, who is trusted, and what is left out.
Sentences and JSON say the same. Epsilon is printed rounded up, never down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Final

from dp.accounting import RELATION
from dp.errors import ParameterError
from dp.ledger import UNITS
from dp.relation import check_relation, neighbours

EXAMPLE_MECHANISM: Final = (
    "DP-SGD on each client: gradients of single examples are clipped, summed, noised "
    "and divided by a public constant"
)
EXAMPLE_TRUST: Final = (
    "Each client must be trusted to run the mechanism on its own examples; the server "
    "and the other clients need not be"
)
CLIENT_MECHANISM: Final = (
    "DP-FedAvg: whole updates are clipped, summed without weights, noised by the "
    "server and divided by a public constant"
)
CLIENT_TRUST: Final = (
    "The server must be trusted to draw the cohorts, to see the sum before the noise "
    "and to add the noise; the bound says nothing against the server itself"
)
ADAPTIVE_MECHANISM: Final = (
    "DP-FedAvg with adaptive clipping: whole updates are clipped and summed without "
    "weights, with one bit each that says whether it was short enough, noised by the "
    "server and divided by a public constant; the clip norm, given here as it was in "
    "the first round, follows the noised count of these bits and is public"
)
FTRL_MECHANISM: Final = (
    "DP-FTRL: whole updates are clipped, summed without weights, and noised by the "
    "server with noise that is correlated over all planned rounds, which together are "
    "one Gaussian mechanism; each sum is divided by a public constant"
)

LOCAL_MECHANISM: Final = (
    "Gaussian noise on every upload: each client clips its whole update and adds noise "
    "of {std!r} in each coordinate, for two updates that are twice the clip norm apart"
)
LOCAL_TRUST: Final = (
    "Each client must be trusted to clip and to noise its own update; the server and "
    "the other clients need not be"
)
SHARES_MECHANISM: Final = (
    "noise in shares: whole updates are clipped, rotated and rounded to integers, each "
    "client adds its share of {noise} noise, of variance {variance} in steps of the "
    "encoder, before masking, and their sum is divided by a public constant; of all "
    "shares those of {honest} honest clients are counted, as few as the plan of the "
    "secure sum leaves"
)
SHARES_TRUST: Final = (
    "Nobody is trusted with the noise: the bound holds against the server together "
    "with at most {corrupt} colluding clients, whose shares are not counted. The "
    "server must follow the protocol of the secure sum, and each honest client must "
    "clip its update, add its share, and let nothing but chance decide whether it "
    "vanishes"
)

SCHEMA: Final = "blindsum.statement/1"
ELEMENTS: Final = (
    "unit",
    "mechanism",
    "parameters",
    "guarantee",
    "composition",
    "sampling",
    "trust",
    "not_covered",
)
"""What a statement says, in the order of its sentences."""

_SPREAD: Final = {
    "example": "For a person with several examples, at one client or at several, the "
    "bound is weaker, the more of them there are.",
    "subject": "All examples of one person count as one unit, wherever they lie.",
    "client": "All that a client holds counts as one unit.",
}
NOT_COVERED: Final = (
    "the numbers of clients and of examples, the set of classes and the names of "
    "sites, which are taken as public",
    "the choice of hyper-parameters by looking at these data",
    "metrics and scores computed from these data without noise",
    "floating point: the bound is for real-valued noise",
)
SHARES_NOT_COVERED: Final = (
    *NOT_COVERED[:3],
    "a client that does not clip its update: it gives up its own bound, not that of "
    "the others, and can move the mean as far as the ring lets it",
    "a client that leaves out its share of the noise: it counts as a colluder",
    "the time that a client takes to draw its noise",
)
SIMULATED: Final = (
    "this run itself, a simulation: its sampling and noise came from a seed, and "
    "whoever knows the seed can undo them, and models trained from the same seed, by "
    "other protections or in other runs, share its noise; the bound is that of a run "
    "with fresh randomness, for its own model alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Everything that a privacy statement says, as values.

    Attributes:
        unit: "example", "subject" or "client".
        relation: which data sets are neighbours.
        mechanism: what was done, a phrase; see EXAMPLE_MECHANISM, CLIENT_MECHANISM.
        noise_multiplier: standard deviation of the noise over the sensitivity.
        clip_norm_l2: L2 bound on one unit's contribution to one release.
        sampling_rate: Poisson, in (0, 1].
        releases: how many such releases epsilon composes, for the party with the most.
        epsilon: upper bound over all of them, at `delta`.
        delta: in (0, 1).
        accountant: with its version.
        trusted: who must be trusted with what, a sentence without its full stop.
        simulated: whether randomness came from a seeded generator.
        not_covered: phrases.
        limits: what the bound assumes of who takes part, a sentence; empty where
            `sampling_rate` says it all.
    """

    unit: str
    relation: str = RELATION
    mechanism: str
    noise_multiplier: float
    clip_norm_l2: float
    sampling_rate: float
    releases: int
    epsilon: float
    delta: float
    accountant: str
    trusted: str
    simulated: bool
    not_covered: tuple[str, ...] = NOT_COVERED
    limits: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ParameterError(
                f"unit={self.unit!r} must be one of {', '.join(UNITS)}."
            )
        check_relation(self.relation)
        positive = (self.noise_multiplier, self.clip_norm_l2, self.sampling_rate)
        if not all(0 < value < math.inf for value in (*positive, self.releases)):
            raise ParameterError(
                "A claim needs a positive noise multiplier, clip norm, sampling rate "
                "and number of releases."
            )
        if self.sampling_rate > 1:
            raise ParameterError(
                f"sampling_rate={self.sampling_rate} must be in (0, 1]."
            )
        if not (0 <= self.epsilon < math.inf and 0 < self.delta < 1):
            raise ParameterError(
                f"epsilon={self.epsilon} and delta={self.delta} bound nothing; claim "
                "only a finite epsilon with a delta between 0 and 1."
            )


def subject_mechanism(records: int) -> str:
    """Return the phrase for DP-SGD with at most so many examples of one subject."""
    return (
        f"DP-SGD on each client: in each step the gradients of at most {records} "
        "examples of a subject are summed, this sum is clipped as one, and the clipped "
        "sums of all subjects are summed, noised and divided by a public constant"
    )


def subject_trust(sites: int) -> str:
    """Return who is trusted with what where a subject is at so many clients at most."""
    counted = "" if sites == 1 else f", and every step counts {sites} times for it"
    return (
        "Each client must be trusted to run the mechanism on its own examples and to "
        "know whose each is; the server and the other clients need not be. That no "
        f"subject has examples at more than {'one' if sites == 1 else sites} of the "
        f"clients is declared, not measured{counted}"
    )


def statement(claim: Claim) -> tuple[str, ...]:
    """Return the privacy statement of a run, one entry per element of `ELEMENTS`.

    Every number in it is one of the claim's, and epsilon is rounded up.
    """
    said = _said(claim)
    return tuple(said[element] for element in ELEMENTS)


def statement_json(claim: Claim) -> dict[str, object]:
    """Return the same statement as plain values: every element, sentence and number.

    The numbers are the claim's own, exactly; ``epsilon_printed`` is how the sentence
    rounds epsilon up.
    """
    return {
        "schema": SCHEMA,
        "unit": {"name": claim.unit, "relation": claim.relation},
        "mechanism": {"name": claim.mechanism},
        "parameters": {
            "noise_multiplier": claim.noise_multiplier,
            "clip_norm_l2": claim.clip_norm_l2,
        },
        "guarantee": {
            "epsilon": claim.epsilon,
            "epsilon_printed": round_up(claim.epsilon),
            "delta": claim.delta,
            "kind": "upper bound",
        },
        "composition": {"releases": claim.releases, "accountant": claim.accountant},
        "sampling": {
            "rate": claim.sampling_rate,
            "kind": _kind(claim),
        },
        "trust": {"trusted": claim.trusted},
        "not_covered": list(_uncovered(claim)),
        "simulated": claim.simulated,
        "sentences": _said(claim),
    }


def _said(claim: Claim) -> dict[str, str]:
    """Return the sentences by element."""
    return {
        "unit": f"The unit of privacy is one {claim.unit}, under the relation "
        f"{claim.relation!r}: two data sets are neighbours "
        f"{neighbours(claim.relation, claim.unit)}. {_SPREAD[claim.unit]}",
        "mechanism": f"The mechanism is {claim.mechanism}.",
        "parameters": f"The clip norm is {claim.clip_norm_l2!r} in L2, and the noise "
        f"multiplier {_down(claim.noise_multiplier)}: the standard deviation of the "
        "noise over how far one unit can move what is released.",
        "guarantee": f"Together, the releases satisfy differential privacy with "
        f"epsilon at most {round_up(claim.epsilon)} at delta {claim.delta!r}: the "
        "probability of any outcome under one data set is at most exp(epsilon) times "
        "that under a neighbour, plus delta.",
        "composition": f"This composes {_releases(claim.releases)} over the rounds of "
        f"the run, by the accountant {claim.accountant}; further releases "
        "about the same data add to it.",
        "sampling": _sampling(claim),
        "trust": f"{claim.trusted}.",
        "not_covered": f"Not covered: {'; '.join(_uncovered(claim))}.",
    }


def _kind(claim: Claim) -> str:
    if claim.limits:
        return "limited participation"
    return "Poisson" if claim.sampling_rate < 1 else "none"


def _sampling(claim: Claim) -> str:
    if claim.limits:
        return claim.limits
    if claim.sampling_rate == 1:
        return (
            f"Every {claim.unit} is in every release, without sampling, so the bound "
            "assumes nothing about who took part."
        )
    return (
        f"Each {claim.unit} is in a release by its own coin, with probability "
        f"{claim.sampling_rate!r} (Poisson sampling), and the bound counts on it: the "
        "coins are independent, do not depend on the data, and stay unknown to whoever "
        "the bound is against."
    )


def _uncovered(claim: Claim) -> tuple[str, ...]:
    return claim.not_covered + ((SIMULATED,) if claim.simulated else ())


def _releases(count: int) -> str:
    return "one release" if count == 1 else f"all of {count} releases"


def _down(value: float) -> str:
    """Return five digits, never above the value as printed: noise is not overstated."""
    context = Context(prec=5, rounding=ROUND_FLOOR)
    return f"{context.create_decimal(repr(value)).normalize():f}"


def round_up(value: float, digits: int = 3) -> str:
    """Return a decimal of so many significant digits, never below the value."""
    rounded = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(
        Decimal(value)
    )
    return f"{rounded.normalize():f}"
