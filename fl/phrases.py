"""Small phrases of the answer: lists, names, figures, and which row decides.

Words only: no sentence is put together here, and no verdict is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fl.report import LeakageRow, PrivacyRow, UtilityRow, Verdict
from fl.report.judgement import guarantee, model
from fl.report.wording import metric_name

_ORDER = tuple(Verdict)
_CLEAR = "none"


def joined(parts: Sequence[str]) -> str:
    """Join parts as in a sentence: a, b and c."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def called(protection: str) -> str:
    """Return a protection with its preposition."""
    return "without protection" if protection == _CLEAR else f"under {protection}"


def under(names: Sequence[str], *, rest: bool = False, every: str = "") -> str:
    """Return several protections with one preposition.

    `rest` says that they are all that is left; `every` is the word for all of them,
    given where they are all there are.
    """
    if len(names) == 1:
        return called(names[0])
    if rest:
        return "elsewhere"
    return f"under {every} protection" if every else f"under {joined(names)}"


def size(count: float) -> str:
    """Return a byte count in the unit that keeps it below a thousand."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def times(factor: float) -> str:
    """Return a factor without needless digits: 1.3, 42, 156."""
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"


def bought_by(
    row: UtilityRow, proven: PrivacyRow | None, majority: float | None
) -> str:
    """Write the epsilon of a noised protection and what is judged of it."""
    said = []
    if proven is not None:
        said.append(f"epsilon {proven.epsilon_upper:.3g} per {proven.unit}")
        judged = guarantee(proven)
        said += [judged.words] if judged else []
    useless = model(row, majority)
    said += [useless.words] if useless else []
    return ", ".join(said)


def deciding(rows: Iterable[LeakageRow]) -> LeakageRow | None:
    """Return the row with the worst verdict, and of those the most telling one."""
    measured = [row for row in rows if row.verdict is not Verdict.NOT_MEASURED]
    return min(
        measured,
        key=lambda row: (worst_first(row.verdict), nearest_first(row)),
        default=None,
    )


def worst_first(verdict: Verdict) -> int:
    """Order verdicts from the worst to the least known."""
    return _ORDER.index(verdict)


def nearest_first(row: LeakageRow) -> tuple[float, float]:
    """Order rows of one verdict: most exact records, then furthest from the null.

    The distance is counted in interval widths, which metrics share.
    """
    hits = row.value or 0.0 if row.verdict is Verdict.RECOVERED else 0.0
    if row.value is None or row.null is None or row.low is None or row.high is None:
        return -hits, 0.0
    return -hits, -(row.value - row.null) / max(row.high - row.low, 1e-12)


def figure(row: LeakageRow) -> str:
    """Return the most telling number of a group, in brackets; empty where none."""
    if row.value is None:
        return ""
    if row.verdict is Verdict.RECOVERED:
        return f" (up to {round(row.value * row.n)} of {row.n})"
    if row.verdict is Verdict.LEAKS:
        name = metric_name(row.metric)
        return f" ({name} up to {row.value:.3g}, null {row.null:.3g})"
    return ""
