"""Two reports, old and new: what got worse, what got better, what came and went.

A measurement counts as changed when its verdict changed or its two intervals do not
overlap; that is no test at a stated level, and the new report's own verdicts stand
unchanged. Both reports are only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fl.change import Change, Difference, Setting, apart, paired, settings
from fl.report import LeakageRow, PrivacyRow, Report, UtilityRow, Verdict
from fl.report.bounds import violations
from fl.report.wording import NONE, interval, measure, metric_name, number

# A cost that moves less than this has not changed: timings vary from run to run.
COST_TOLERANCE = 0.10
_COSTS = ("bytes_up", "bytes_down", "client_cpu_s", "server_cpu_s")
_WORST_FIRST = tuple(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `report diff` shows.

    Attributes:
        differences: worse first, then better, new and gone.
        settings: that differ between the two runs.
        failed: names of the gates that fail in the new report.
        violated: the claims that the new report shows to be violated.
    """

    differences: tuple[Difference, ...]
    settings: tuple[Setting, ...]
    failed: tuple[str, ...]
    violated: tuple[str, ...]

    @property
    def alarming(self) -> bool:
        """Say whether a gate fails or a claim is violated in the new report."""
        return bool(self.failed or self.violated)

    def count(self, change: Change) -> int:
        """Return how many rows changed in that way."""
        return sum(one.change is change for one in self.differences)


def compare(old: Report, new: Report) -> Comparison:
    """Compare two reports row by row.

    Leakage rows are matched by protection, adversary, scenario, view, attack and
    metric; of a protection that only one report has, one line says so.

    Args:
        old: the report to compare with.
        new: the report that is judged.

    Returns:
        Every difference; nothing changed gives empty tuples.
    """
    found = [
        *_protections(old, new),
        *_leakage(old, new),
        *_accuracy(old, new),
        *_epsilon(old, new),
        *_crowd(old, new),
        *_cost(old, new),
        *_gates(old, new),
    ]
    order = tuple(Change)
    return Comparison(
        differences=tuple(sorted(found, key=lambda one: order.index(one.change))),
        settings=tuple(settings(old, new)),
        failed=tuple(gate.name for gate in new.gates if not gate.passed),
        violated=violations(new),
    )


def _protections(old: Report, new: Report) -> Iterator[Difference]:
    refused = {row.protection for row in new.refused}
    for name in new.protections:
        if name not in old.protections:
            yield Difference(Change.NEW, f"protection {name}", NONE, "all its rows")
    for name in old.protections:
        if name not in new.protections:
            why = "refused" if name in refused else NONE
            yield Difference(Change.GONE, f"protection {name}", "all its rows", why)


def _leakage(old: Report, new: Report) -> Iterator[Difference]:
    shared = set(old.protections) & set(new.protections)
    rows = [
        {_key(r): r for r in one.leakage if r.protection in shared}
        for one in (old, new)
    ]
    for key, before, after in paired(*rows):
        known = [r for r in (before, after) if r and _measured(r)]
        if not known:
            continue
        what = f"{known[0].protection}: {', '.join(str(part) for part in key[1:])}"
        texts = _finding(before), _finding(after)
        if before is None or not _measured(before):
            yield Difference(Change.NEW, what, *texts)
        elif after is None or not _measured(after):
            yield Difference(Change.GONE, what, *texts)
        elif change := _moved(before, after):
            yield Difference(change, what, *texts)


def _key(row: LeakageRow) -> tuple[str, ...]:
    return (
        *(row.protection, row.adversary, row.scenario.value),
        *(row.view, row.attack, metric_name(row.metric)),
    )


def _measured(row: LeakageRow) -> bool:
    return row.verdict is not Verdict.NOT_MEASURED


def _moved(old: LeakageRow, new: LeakageRow) -> Change | None:
    """Compare verdicts, then intervals; a higher value is worse."""
    before, after = (_WORST_FIRST.index(row.verdict) for row in (old, new))
    if after < before or apart(old.high, new.low):
        return Change.WORSE
    if after > before or apart(new.high, old.low):
        return Change.BETTER
    return None


def _finding(row: LeakageRow | None) -> str:
    if row is None:
        return NONE
    if row.value is None:
        return row.verdict.value
    span = interval(row.low, row.high, row.metric)
    return f"{row.verdict.value}, {measure(row.value, row.metric)} {span}".rstrip()


def _accuracy(old: Report, new: Report) -> Iterator[Difference]:
    rows = [
        {r.protection: r for r in one.utility if r.metric == "accuracy"}
        for one in (old, new)
    ]
    for name, before, after in paired(*rows):
        if before is None or after is None:
            continue  # the whole protection is new or gone
        texts = _reached(before), _reached(after)
        if apart(after.high, before.low):
            yield Difference(Change.WORSE, f"{name}: accuracy", *texts)
        elif apart(before.high, after.low):
            yield Difference(Change.BETTER, f"{name}: accuracy", *texts)


def _reached(row: UtilityRow) -> str:
    span = interval(row.low, row.high, row.metric)
    return f"{measure(row.value, row.metric)} {span}".rstrip()


def _epsilon(old: Report, new: Report) -> Iterator[Difference]:
    rows = [{(r.protection, r.unit): r for r in one.privacy} for one in (old, new)]
    for (name, unit), before, after in paired(*rows):
        if after is not None and after.violated:
            if before is None or not before.violated:
                what = f"{name}: measured epsilon per {unit} above the proven one"
                texts = _bound(before), _bound(after)
                yield Difference(Change.WORSE, what, *texts)
        elif before is not None and before.violated and after is not None:
            what = f"{name}: measured epsilon per {unit} below the proven one again"
            yield Difference(Change.BETTER, what, _bound(before), _bound(after))
        if before is None or after is None:
            continue
        limits = [
            float("inf") if r.epsilon_upper is None else r.epsilon_upper
            for r in (before, after)
        ]
        if limits[0] != limits[1]:
            change = Change.WORSE if limits[1] > limits[0] else Change.BETTER
            what = f"{name}: proven epsilon per {unit}"
            yield Difference(change, what, _bound(before), _bound(after))


def _bound(row: PrivacyRow | None) -> str:
    if row is None:
        return NONE
    upper = "unbounded" if row.epsilon_upper is None else number(row.epsilon_upper)
    lower = (
        "" if row.epsilon_lower is None else f", at least {number(row.epsilon_lower)}"
    )
    return f"at most {upper}{lower}"


def _crowd(old: Report, new: Report) -> Iterator[Difference]:
    """Compare the honest inputs per sum; what was measured there is in the leakage."""
    rows = [
        {(r.colluders, r.dropouts): r.honest for r in one.crowd} for one in (old, new)
    ]
    for (colluders, dropouts), before, after in paired(*rows):
        if before is not None and after is not None and before != after:
            change = Change.WORSE if after < before else Change.BETTER
            what = f"honest inputs per sum, {colluders} collude, {dropouts} vanish"
            yield Difference(change, what, str(before), str(after))


def _cost(old: Report, new: Report) -> Iterator[Difference]:
    rows = [{r.protection: r for r in one.cost} for one in (old, new)]
    for name, before, after in paired(*rows):
        if before is None or after is None:
            continue
        was, now = before.model_dump(), after.model_dump()
        for cost in _COSTS:
            if was[cost] is None or now[cost] is None:
                continue
            step = now[cost] - was[cost]
            if abs(step) > COST_TOLERANCE * was[cost]:
                change = Change.WORSE if step > 0 else Change.BETTER
                texts = number(was[cost]), number(now[cost])
                yield Difference(change, f"{name}: {cost.replace('_', ' ')}", *texts)


def _gates(old: Report, new: Report) -> Iterator[Difference]:
    rows = [{g.name: g for g in one.gates} for one in (old, new)]
    for name, before, after in paired(*rows):
        was = NONE if before is None else "passed" if before.passed else "failed"
        if after is None:
            yield Difference(Change.GONE, f"gate: {name}", was, NONE)
            continue
        now = "passed" if after.passed else f"failed: {after.detail}"
        if not after.passed and was != "failed":
            yield Difference(Change.WORSE, f"gate: {name}", was, now)
        elif after.passed and was == "failed":
            yield Difference(Change.BETTER, f"gate: {name}", was, now)
        elif before is None:
            yield Difference(Change.NEW, f"gate: {name}", was, now)
