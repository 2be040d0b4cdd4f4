"""The answer in three sentences: how good, what leaked, what remains at what price.

Every number comes from a row of the report and names its condition. Protections that
share a verdict share a clause, so that six of them still fit into a sentence. The
words are chosen by verdicts and never claim more than a row shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fl.looks import OPENED, is_in_part
from fl.phrases import (
    bought_by,
    called,
    deciding,
    figure,
    joined,
    nearest_first,
    size,
    times,
    under,
    worst_first,
)
from fl.report import (
    Baselines,
    CostRow,
    Federation,
    LeakageRow,
    PrivacyRow,
    Scenario,
    UtilityRow,
    Verdict,
)

CLEAR = "none"
# What a party does, by the verdict of its best attack.
_DOES = {
    Verdict.RECOVERED: "recovers records exactly",
    Verdict.LEAKS: "beats chance",
    Verdict.NOT_DETECTED: "was not seen to beat chance",
    Verdict.NOT_MEASURED: "was not attacked",
}
_TELLS = _DOES | {
    Verdict.LEAKS: "tells members from others",
    Verdict.NOT_DETECTED: "was not seen to tell members from others",
}
_AGAIN = "was not seen to"  # after a clause that names what was not seen


def answer(
    federation: Federation,
    utility: Sequence[UtilityRow],
    leakage: Sequence[LeakageRow],
    cost: Sequence[CostRow],
    baselines: Baselines,
    privacy: Sequence[PrivacyRow] = (),
) -> tuple[str, str, str]:
    """Return the three sentences that the page opens with."""
    names = tuple(row.protection for row in utility if row.metric == "accuracy")
    return (
        _how_good(federation, utility, baselines, privacy),
        _what_the_server_learns(names, leakage),
        _what_remains(names, leakage, cost, privacy),
    )


def _how_good(
    federation: Federation,
    utility: Sequence[UtilityRow],
    baselines: Baselines,
    privacy: Sequence[PrivacyRow],
) -> str:
    """Say what each accuracy is, best first, with the epsilon that noise bought."""
    proven = {row.protection: row for row in privacy if row.epsilon_upper is not None}
    groups: dict[str, dict[str, list[str]]] = {}
    spans: dict[str, str] = {}
    for row in sorted(utility, key=lambda row: -(row.value or 0.0)):
        if row.metric == "accuracy":
            bought = bought_by(row, proven.get(row.protection), baselines.majority)
            value = f"{row.value:.3f}"
            groups.setdefault(bought, {}).setdefault(value, []).append(row.protection)
            spans.setdefault(value, f" ({row.low:.3f} to {row.high:.3f})")
    parts: list[str] = []
    for bought, values in groups.items():
        for value, names in values.items():
            parts.append(f"{value}{'' if parts else spans[value]} {under(names)}")
        parts[-1] += (
            f" ({'each ' if len(values) > 1 else ''}{bought})" if bought else ""
        )
    pooled = baselines.pooled
    aside = f"; pooled data reaches {pooled.value:.3f}" if pooled else ""
    return (
        f"Trained over {federation.clients} clients on {federation.data}, the model "
        f"reaches a held-out accuracy of {joined(parts)}{aside}."
    )


def _what_the_server_learns(names: Sequence[str], leakage: Sequence[LeakageRow]) -> str:
    rows = [row for row in leakage if row.adversary == "server"]
    own, worst = (
        _found(names, [row for row in rows if row.scenario is scenario])
        for scenario in (Scenario.AS_CONFIGURED, Scenario.WORST_CASE)
    )
    parts = [f"In this run the server {own}", f"in the worst case it {worst}"]
    if own == worst:
        parts = [f"In this run and in the worst case the server {own}"]
    text = "; ".join([*parts, *_rules(names, rows, leakage)])
    return f"{_contradicted(rows)}{text}."


def _found(names: Sequence[str], rows: Sequence[LeakageRow]) -> str:
    """Group the protections by the verdict of the best attack, worst group first."""
    best = {name: deciding(r for r in rows if r.protection == name) for name in names}
    return _grouped(best, names, _DOES)


def _grouped(
    best: Mapping[str, LeakageRow | None],
    names: Sequence[str],
    does: Mapping[Verdict, str],
) -> str:
    """Say what a party does under which protections; *prevented* stands elsewhere."""
    groups: dict[Verdict, list[str]] = {}
    for name, row in best.items():
        groups.setdefault(row.verdict if row else Verdict.NOT_MEASURED, []).append(name)
    groups.pop(Verdict.PREVENTED, None)
    if not groups:
        return "was measured on nothing else"
    whole = sum(map(len, groups.values())) == len(names)
    clauses: list[str] = []
    for verdict in sorted(groups, key=worst_first):
        rows = [row for row in (best[name] for name in groups[verdict]) if row]
        last = whole and len(clauses) + 1 == len(groups)
        word = "any" if verdict is Verdict.NOT_DETECTED else "every"
        where = under(
            groups[verdict], rest=last and bool(clauses), every=word if last else ""
        )
        again = verdict is Verdict.NOT_DETECTED and Verdict.LEAKS in groups
        told = "" if clauses or not rows else figure(min(rows, key=nearest_first))
        clauses.append(f"{_AGAIN if again else does[verdict]} {where}{told}")
    return joined(clauses)


def _contradicted(rows: Sequence[LeakageRow]) -> str:
    broken = dict.fromkeys(
        row.protection for row in rows if row.why.startswith("contradicts")
    )
    return f"A rule is CONTRADICTED {under(list(broken))}: " if broken else ""


def _rules(
    names: Sequence[str], rows: Sequence[LeakageRow], leakage: Sequence[LeakageRow]
) -> list[str]:
    """Name the protections whose rule about single uploads held, and its exception."""
    held = [
        name
        for name in names
        if any(r.verdict is Verdict.PREVENTED for r in rows if r.protection == name)
        and not any("contradicts" in r.why for r in rows if r.protection == name)
    ]
    if not held:
        return []
    said = [f"proofs hide single uploads {under(held)}"]
    for in_part, what in ((False, "them all"), (True, "a part of each")):
        opened = _opened(held, leakage, in_part=in_part)
        if opened:
            said.append(f"{under(opened)} one client with the server opens {what}")
    return said


def _opened(
    held: Sequence[str], leakage: Sequence[LeakageRow], *, in_part: bool
) -> list[str]:
    """Return the protections under which a colluder's key was seen to tell."""
    telling = {
        row.protection
        for row in leakage
        if row.verdict in (Verdict.RECOVERED, Verdict.LEAKS)
        and OPENED in row.view
        and is_in_part(row.view) == in_part
    }
    return [name for name in held if name in telling]


def _what_remains(
    names: Sequence[str],
    leakage: Sequence[LeakageRow],
    cost: Sequence[CostRow],
    privacy: Sequence[PrivacyRow],
) -> str:
    parts = [_members("An outsider", "outsider", names, leakage, _TELLS)]
    if any(row.adversary == "client" and row.value is not None for row in leakage):
        again = _TELLS[Verdict.LEAKS] in parts[0]
        does = _TELLS | ({Verdict.NOT_DETECTED: _AGAIN} if again else {})
        parts.append(_members("a client", "client", names, leakage, does))
    parts += _clients_worst(names, leakage)
    text = "; ".join([*parts, *_bounds(privacy), _traffic(cost)])
    return f"{_violations(privacy)}{text}."


def _clients_worst(names: Sequence[str], leakage: Sequence[LeakageRow]) -> list[str]:
    """Say under which protections a client learns from others in the worst case."""
    bad = [
        name
        for name in names
        if any(
            row.protection == name
            and row.adversary == "client"
            and row.scenario is Scenario.WORST_CASE
            and row.verdict in (Verdict.RECOVERED, Verdict.LEAKS)
            for row in leakage
        )
    ]
    return [f"in the worst case it beats chance {under(bad)}"] if bad else []


def _violations(privacy: Sequence[PrivacyRow]) -> str:
    return "".join(
        f"VIOLATION {called(row.protection)}: epsilon is at least "
        f"{row.epsilon_lower:.3g}, not the claimed {row.epsilon_upper:.3g}. "
        for row in privacy
        if row.violated
    )


def _members(
    who: str,
    adversary: str,
    names: Sequence[str],
    leakage: Sequence[LeakageRow],
    does: Mapping[Verdict, str],
) -> str:
    """Say under which protections a party tells members from others, and how well."""
    rows = [
        row
        for row in leakage
        if row.adversary == adversary and row.metric == "AUC" and row.value is not None
    ]
    if not rows:
        return f"{who}'s knowledge of who was a member was not measured"
    best = {
        name: deciding(row for row in rows if row.protection == name)
        for name in names
        if any(row.protection == name for row in rows)
    }
    return f"{who} {_grouped(best, names, does)}"


def _bounds(privacy: Sequence[PrivacyRow]) -> list[str]:
    """Write the measured lower bounds; sentence one has the proven ones."""
    audited = [
        f"{row.epsilon_lower:.3g} {called(row.protection)}"
        for row in privacy
        if row.epsilon_lower and not row.violated  # 0 is no finding
    ]
    return [f"epsilon measures at least {joined(audited)}"] if audited else []


def _traffic(cost: Sequence[CostRow]) -> str:
    """Write the least upload, and the others as multiples of it."""
    known = [(row.protection, row.bytes_up) for row in cost if row.bytes_up]
    if not known:
        return "uploads were not measured"
    least = min(up for _, up in known)
    factors: dict[str, list[str]] = {}
    for name, up in known:
        factors.setdefault(times(up / least), []).append(name)
    cheapest = factors.pop("1")
    if factors and CLEAR in cheapest:
        cheapest = [CLEAR]  # the others that cost the same need no words
    more = [f"{factor} times that {under(who)}" for factor, who in factors.items()]
    said = joined([f"{size(least)} {under(cheapest)}", *more])
    return f"an upload takes {said}"
