"""A line for a test suite: what was measured must not contradict the epsilon claimed.

    def test_the_claim_stands() -> None:
        attacks.assert_epsilon_consistent("runs/latest")

A report is read as it was written; nothing is measured here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attacks.epsilon import EpsilonBound
from attacks.errors import AttackError, ParameterError

REPORT = "report.json"
Bound = tuple[EpsilonBound | float, float]


class EpsilonInconsistent(AttackError, AssertionError):  # noqa: N818 - says it all
    """What was measured refutes the claim, or nothing was measured to support it."""


class HasFolder(Protocol):
    """A finished audit, which knows where its report is."""

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        ...


def assert_epsilon_consistent(
    run: str | Path | Mapping[str, Any] | HasFolder | Bound,
    *,
    claimed: float | None = None,
) -> None:
    """Raise unless every measured lower bound lies at or below the claimed epsilon.

    Guarantee: passing means that at least one lower bound was measured against a claim
    and none exceeds it. It is no proof of the claim: an audit can only refute.

    Args:
        run: a run's folder or its report.json, the report as a dict, a finished audit,
            or a measured bound beside the claimed epsilon.
        claimed: a claim for every row, in place of the report's own.

    Raises:
        EpsilonInconsistent: a bound exceeds its claim, or no row has both.
        ParameterError: this is no report, or no epsilon.
    """
    if isinstance(run, tuple):
        pairs = [("the bound", *_pair(run))]
    else:
        pairs = list(_rows(_report(run), claimed))
    if not pairs:
        raise EpsilonInconsistent(
            "no lower bound was measured against a claimed epsilon, so nothing speaks "
            "for the claim; audit with canaries or coins, and say what is claimed."
        )
    broken = [
        f"{name}: epsilon measures at least {lower:.4g}, where {upper:.4g} is claimed"
        for name, lower, upper in pairs
        if lower > upper
    ]
    if broken:
        raise EpsilonInconsistent(f"{'; '.join(broken)}.")


def _pair(given: Bound) -> tuple[float, float]:
    if len(given) != 2:
        raise ParameterError(f"give (bound, claimed), not a tuple of {len(given)}.")
    bound, upper = given
    lower = bound.value if isinstance(bound, EpsilonBound) else bound
    return _epsilon(lower, "bound"), _epsilon(upper, "claimed")


def _rows(
    report: Mapping[str, Any], claimed: float | None
) -> Sequence[tuple[str, float, float]]:
    rows = report.get("privacy")
    if not isinstance(rows, list):
        raise ParameterError("this is no report: it has no list 'privacy'.")
    found = []
    for row in rows:
        lower, upper = row.get("epsilon_lower"), row.get("epsilon_upper")
        upper = upper if claimed is None else claimed
        if row.get("claimed") and row.get("epsilon_lower_gaussian") is not None:
            lower = row["epsilon_lower_gaussian"]  # of noise as it is claimed to be
        if lower is not None and upper is not None:
            name = str(row.get("protection"))
            found.append((name, _epsilon(lower, name), _epsilon(upper, name)))
    return found


def _report(run: str | Path | Mapping[str, Any] | HasFolder) -> Mapping[str, Any]:
    if isinstance(run, Mapping):
        return run
    place = Path(run) if isinstance(run, str | Path) else run.folder
    path = place if place.suffix == ".json" else place / REPORT
    try:
        report: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(
            f"{path} cannot be read ({error.strerror}); give the folder of a finished "
            "run."
        ) from error
    except ValueError as error:
        raise ParameterError(f"{path} is not JSON; run the audit again.") from error
    if not isinstance(report, dict):
        raise ParameterError(f"{path} is no report.")
    return report


def _epsilon(value: object, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and number >= 0:
            return number
    raise ParameterError(f"{name}: an epsilon must be a finite number from 0.")
