"""What is proven per protection, and what each proof assumes.

Gathered from what the report already states (the plan, the rule behind each
*prevented*, each epsilon with its accountant) plus the claims that the caller adds.
It does NOT prove anything, and measurements never count as proof here.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report.epsilon import PrivacyRow
from fl.report.records import Verdict, refused_word
from fl.report.schema import Report
from fl.report.wording import number


class ClaimError(ValueError):
    """A claim in words that the page never uses: the caller's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a protection guarantees and what that rests on, one sentence each.

    Raises:
        ClaimError: a sentence uses a word that no proof supports.
    """

    protection: str
    proven: tuple[str, ...]
    assumes: tuple[str, ...]

    def __post_init__(self) -> None:
        for sentence in (*self.proven, *self.assumes):
            word = refused_word(sentence)
            if word:
                raise ClaimError(
                    f"a claim for {self.protection!r} says {word!r}; "
                    "say what is guaranteed, against which adversary."
                )


def proofs(report: Report, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Collect, for every protection in order, what is proven and what it assumes.

    Args:
        report: gives the rules of its *prevented* rows and its epsilons.
        claims: further statements; a protection may have several.

    Returns:
        One claim per protection; empty tuples where nothing is proven.

    Raises:
        ClaimError: a claim names a protection that the report does not have.
    """
    for claim in claims:
        if claim.protection not in report.protections:
            raise ClaimError(
                f"a claim names {claim.protection!r}, which is not among "
                f"{list(report.protections)}."
            )
    return tuple(
        Claim(
            protection=name,
            proven=(
                *(s for c in claims if c.protection == name for s in c.proven),
                *(
                    _epsilon(r)
                    for r in report.privacy
                    if r.protection == name
                    and r.epsilon_upper is not None
                    and not r.claimed
                ),
                *_rules(report, name),
            ),
            assumes=tuple(s for c in claims if c.protection == name for s in c.assumes),
        )
        for name in report.protections
    )


def _epsilon(row: PrivacyRow) -> str:
    at = "" if row.delta is None else f" at delta = {number(row.delta)}"
    return (
        f"Epsilon at most {number(row.epsilon_upper)}{at} per {row.unit} "
        f"({row.relation}), by the {row.accountant} accountant."
    )


def _rules(report: Report, protection: str) -> tuple[str, ...]:
    """List each rule behind a *prevented* once, with the adversaries it holds for."""
    held: dict[str, dict[str, None]] = {}
    for row in report.leakage:
        if row.protection == protection and row.verdict is Verdict.PREVENTED:
            held.setdefault(row.why, {})[row.adversary] = None
    return tuple(f"Against {', '.join(who)}: {why}" for why, who in held.items())
