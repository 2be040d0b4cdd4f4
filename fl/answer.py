"""The answer in three sentences: how good, what leaked, what remains at what price.

Every number comes from a row of the report and names its condition. The sentences
choose their words by verdicts and never claim more than a row shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        f"{_called(row.protection)} {row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        for row in utility
        if row.metric == "accuracy"
    ]
    pooled = baselines.pooled
    aside = f"; training on pooled data reaches {pooled.value:.3f}" if pooled else ""
    return (
        f"Trained over {federation.clients} clients on {federation.data}, the model's "
        f"held-out accuracy is {_join(parts)}{aside}."
    )


def _what_the_server_learns(
    utility: Sequence[UtilityRow], leakage: Sequence[LeakageRow]
) -> str:
    clauses = []
    for name in dict.fromkeys(row.protection for row in utility):
        seen = [
            row
            for row in leakage
            if row.protection == name and row.adversary.startswith("server")
        ]
        clauses.append(f"{_called(name)} {_worst(seen)}")
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _worst(rows: Sequence[LeakageRow]) -> str:
    """Say the worst verdict of each scenario, with the row that decides it."""
    said = []
    for scenario in (Scenario.WORST_CASE, Scenario.AS_CONFIGURED):
        here = [row for row in rows if row.scenario is scenario]
        where = (
            "in the worst case"
            if scenario is Scenario.WORST_CASE
            else "from the run as configured"
        )
        said.append(f"{_finding(here)} {where}")
    return ", and ".join(said)


def _finding(rows: Iterable[LeakageRow]) -> str:
    ranked = sorted(rows, key=lambda row: (_ORDER.index(row.verdict), -_rate(row)))
    if not ranked or ranked[0].verdict is Verdict.NOT_MEASURED:
        return "what the server learns was not measured"
    worst = ranked[0]
    match worst.verdict:
        case Verdict.RECOVERED:
            hits = round((worst.value or 0.0) * worst.n)
            return (
                f"the {worst.adversary} recovers records exactly for {hits} of "
                f"{worst.n} victims ({worst.view}, {worst.attack})"
            )
        case Verdict.LEAKS:
            return (
                f"the {worst.adversary} learns more than chance ({worst.view}, "
                f"{worst.attack}: {worst.metric} {worst.value:.3g}, null "
                f"{worst.null:.3g})"
            )
        case Verdict.NOT_DETECTED:
            return f"no leak to the {worst.adversary} was detected ({worst.view})"
        case _:
            return f"nothing beyond the proven rule was seen ({worst.view})"


def _rate(row: LeakageRow) -> float:
    if row.value is None or row.null is None:
        return 0.0
    return row.value - row.null if row.verdict is Verdict.RECOVERED else 0.0


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
