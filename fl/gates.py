"""The conditions that a run must meet; one that fails is exit status 3.

Certificates, hidden uploads, exact sums, proven bounds, the drill, and the likeness of
members and non-members: each of them is something that the page claims or rests on,
checked against what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl.evidence import Evidence
from fl.looks import BOTH_WAYS, ENCRYPTED_UPLOAD, MASKED_UPLOAD
from fl.membership import changes
from fl.membership.ascent import AFTER
from fl.report import DrillRow, Gate, LeakageRow, PrivacyRow, ValidityRow, Verdict
from fl.validity import gate as alike

# Views that a protection claims to make worthless, however they are led up to.
HIDDEN = (
    *(MASKED_UPLOAD, ENCRYPTED_UPLOAD, BOTH_WAYS),
    *(changes.MASKED, changes.ENCRYPTED, changes.BOTH_WAYS),
)


def gates(
    evidence: Evidence,
    leakage: Sequence[LeakageRow],
    privacy: Sequence[PrivacyRow],
    drill: Sequence[DrillRow],
    validity: Sequence[ValidityRow] = (),
) -> tuple[Gate, ...]:
    """Return the conditions that this run had to meet."""
    found: tuple[Gate, ...] = (
        _certificates(evidence),
        _hidden(leakage),
        _sums_agree(evidence),
    )
    if any(row.epsilon_upper is not None for row in privacy):
        found += (_bounds(privacy),)
    if drill:
        found += (_caught(drill),)
    if validity:
        found += (alike(validity),)
    return found


def _certificates(evidence: Evidence) -> Gate:
    certified = [o.attempt for o in evidence.outcomes if o.attempt.certified]
    # A held-out record that is as near to it does not make a certificate wrong.
    false = sum(attempt.exact is None or not attempt.exact[0] for attempt in certified)
    return Gate(
        name="certificates hold",
        passed=false == 0,
        detail=f"{len(certified)} certified reconstructions, {false} wrong.",
    )


def _hidden(leakage: Sequence[LeakageRow]) -> Gate:
    broken = [
        row
        for row in leakage
        if row.view.removeprefix(AFTER).startswith(HIDDEN)
        and row.verdict in (Verdict.LEAKS, Verdict.RECOVERED)
    ]
    return Gate(
        name="masked and encrypted uploads tell nothing",
        passed=not broken,
        detail=(f"{len(broken)} measurements on hidden uploads lie above their null."),
    )


def _bounds(privacy: Sequence[PrivacyRow]) -> Gate:
    measured = [
        (row.epsilon_lower, row.epsilon_upper, row.protection)
        for row in privacy
        if row.epsilon_lower is not None and row.epsilon_upper is not None
    ]
    broken = [name for lower, upper, name in measured if lower > upper]
    return Gate(
        name="measured epsilon stays below the proven one",
        passed=not broken,
        detail=(
            f"{len(measured)} bounds measured by canaries, together at 95 %; "
            f"{len(broken)} above the proven one{': ' if broken else ''}"
            f"{', '.join(broken)}."
        ),
    )


def _caught(drill: Sequence[DrillRow]) -> Gate:
    wrong = [row for row in drill if row.violated != (row.noise == "left out")]
    return Gate(
        name="the drill's missing noise is caught",
        passed=not wrong,
        detail="; ".join(
            f"noise {row.noise}: epsilon at least {row.epsilon_lower:.2f} where "
            f"{row.claimed_epsilon:g} is claimed"
            for row in drill
        ),
    )


def _sums_agree(evidence: Evidence) -> Gate:
    """Compare every kept round's mean with the plain one of the survivors' updates."""
    worst, gaps, beyond = 0.0, 0, 0
    for repeat in evidence.repeats:
        for run in repeat.runs.values():
            for snapshot in run.snapshots:
                aggregate = snapshot.aggregate
                inside = sorted(aggregate.survivors)
                plain = np.average(
                    [snapshot.updates[name].astype(np.float64) for name in inside],
                    axis=0,
                    weights=[snapshot.weights[name] for name in inside],
                )
                gap = float(np.abs(aggregate.mean - plain).max())
                worst, gaps = max(worst, gap), gaps + 1
                beyond += gap > aggregate.max_error
    return Gate(
        name="protected sums equal the plain sums",
        passed=beyond == 0,
        detail=(
            f"{gaps} sums compared with the mean of what went in, {beyond} beyond "
            f"their error bound; largest difference {worst:.2e}."
        ),
    )
