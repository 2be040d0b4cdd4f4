"""The answer in three sentences: how good, what leaked, what remains at what price.

Every number comes from a row of the report and names its condition. The sentences
choose their words by verdicts and never claim more than a row shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.report import (
    Baselines,
    CostRow,
    Federation,
    LeakageRow,
    Scenario,
    UtilityRow,
    Verdict,
)

_ORDER = tuple(Verdict)
CLEAR = "none"


def answer(
    federation: Federation,
    utility: Sequence[UtilityRow],
    leakage: Sequence[LeakageRow],
    cost: Sequence[CostRow],
    baselines: Baselines,
) -> tuple[str, str, str]:
    """Return the three sentences that the page opens with."""
    return (
        _how_good(federation, utility, baselines),
        _what_the_server_learns(utility, leakage),
        _what_remains(leakage, cost),
    )


def _how_good(
    federation: Federation, utility: Sequence[UtilityRow], baselines: Baselines
) -> str:
    parts = [
        f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f}) {_called(row.protection)}"
        for row in utility
        if row.metric == "accuracy"
    ]
    pooled = baselines.pooled
    aside = f"; training on pooled data reaches {pooled.value:.3f}" if pooled else ""
    return (
        f"Trained over {federation.clients} clients on {federation.data}, the model "
        f"reaches a held-out accuracy of {_join(parts)}{aside}."
    )


def _what_the_server_learns(
    utility: Sequence[UtilityRow], leakage: Sequence[LeakageRow]
) -> str:
    clauses = []
    for name in dict.fromkeys(row.protection for row in utility):
        seen = [
            row
            for row in leakage
            if row.protection == name and row.adversary == "server"
        ]
        clauses.append(f"{_called(name)} {_learns(seen)}")
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _learns(rows: Sequence[LeakageRow]) -> str:
    """Say what is prevented, then the worst of each scenario with its row."""
    own, worst = (
        _deciding([row for row in rows if row.scenario is scenario])
        for scenario in (Scenario.AS_CONFIGURED, Scenario.WORST_CASE)
    )
    if _recovered(own) and _recovered(worst) and own and worst:
        said = (
            f"gets training records back exactly, from {_hits(own)} in this run and "
            f"{_hits(worst)} in the worst case"
        )
    else:
        said = f"{_finding(own)} in this run, and {_finding(worst)} in the worst case"
    contradicted = any("contradicts" in row.why for row in rows)
    if any(row.verdict is Verdict.PREVENTED for row in rows) and not contradicted:
        return (
            "single uploads give the server nothing beyond chance; from what remains "
            f"it {said}"
        )
    return f"the server {said}"


def _deciding(rows: Sequence[LeakageRow]) -> LeakageRow | None:
    measured = [row for row in rows if row.verdict is not Verdict.NOT_MEASURED]
    return min(
        measured,
        key=lambda row: (_ORDER.index(row.verdict), -_rate(row), -_distance(row)),
        default=None,
    )


def _recovered(row: LeakageRow | None) -> bool:
    return row is not None and row.verdict is Verdict.RECOVERED


def _hits(row: LeakageRow) -> str:
    return f"{round(_rate(row) * row.n)} of {row.n} attacked ({row.view})"


def _finding(row: LeakageRow | None) -> str:
    """Say what the row that decides a scenario found, as a verb phrase."""
    if row is None:
        return "was not attacked"
    match row.verdict:
        case Verdict.RECOVERED:
            return f"gets training records back exactly from {_hits(row)}"
        case Verdict.LEAKS:
            return (
                f"learns more than chance ({row.attack} on {row.view}: {row.metric} "
                f"{row.value:.3g}, null {row.null:.3g})"
            )
        case Verdict.NOT_DETECTED:
            return f"was not seen to learn more than chance from {row.n} attacked"
        case _:
            return "was measured on nothing else"


def _rate(row: LeakageRow) -> float:
    return row.value or 0.0 if row.verdict is Verdict.RECOVERED else 0.0


def _distance(row: LeakageRow) -> float:
    """Return the distance from the null in interval widths, which metrics share."""
    if row.value is None or row.null is None or row.low is None or row.high is None:
        return 0.0
    return (row.value - row.null) / max(row.high - row.low, 1e-12)


def _what_remains(leakage: Sequence[LeakageRow], cost: Sequence[CostRow]) -> str:
    outside = [
        row
        for row in leakage
        if row.adversary == "outsider" and row.metric == "AUC" and row.value is not None
    ]
    parts = []
    for name in dict.fromkeys(row.protection for row in outside):
        best = max(
            (row for row in outside if row.protection == name),
            key=lambda row: row.value or 0.0,
        )
        parts.append(f"{best.value:.3f} {_called(name)} ({best.verdict.value})")
    membership = (
        f"An outsider with the released model tells members from others with AUC "
        f"{_join(parts)}"
        if parts
        else "What an outsider learns from the released model was not measured"
    )
    prices = [
        f"{_bytes(row.bytes_up)} {_called(row.protection)}"
        for row in cost
        if row.bytes_up is not None
    ]
    return f"{membership}; an upload takes {_join(prices)} per client and round."


def _called(protection: str) -> str:
    return "without protection" if protection == CLEAR else f"under {protection}"


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _bytes(count: float | None) -> str:
    value = float(count or 0.0)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
