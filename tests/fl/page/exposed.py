"""Rows on who is exposed, with realistic numbers."""

from __future__ import annotations

from fl.report import ExposureRow, GroupKind, ValidityRow


def validity(*, valid: bool = True) -> tuple[ValidityRow, ...]:
    """Two views that were asked blindly, and one with too few records."""
    apart = not valid
    return (
        ValidityRow(
            view="released model",
            learner="logistic regression",
            value=0.61 if apart else 0.507,
            low=0.55 if apart else 0.45,
            high=0.67 if apart else 0.56,
            confidence=0.9833,
            n=1797,
            groups=3,
            groups_of=3,
            permuted=0.53 if apart else None,
            beats_chance=apart,
        ),
        ValidityRow(
            view="one client's model",
            learner="labels alone",
            value=0.466,
            low=0.405,
            high=0.53,
            confidence=0.9833,
            n=1186,
            groups=26,
            groups_of=64,
            permuted=None,
            beats_chance=False,
        ),
        ValidityRow(
            view="the honest clients' sum",
            learner=None,
            value=None,
            low=None,
            high=None,
            confidence=None,
            n=0,
            groups=0,
            groups_of=1,
            permuted=None,
            beats_chance=False,
        ),
    )


def exposure(protections: tuple[str, ...]) -> tuple[ExposureRow, ...]:
    """All records, the worst of them, ten classes and some clients, per protection."""
    return tuple(
        _row(name, by, group, n, distance * (1 - 0.6 * place), width, right, groups)
        for place, name in enumerate(protections)
        for by, group, n, distance, width, right, groups in _SETS
    )


_SETS: tuple[tuple[GroupKind, str, int, float, float, float | None, int], ...] = (
    (GroupKind.ALL, "all", 1258, 0.27, 0.06, 0.93, 1),
    (GroupKind.WORST, "the most exposed 1 %", 13, 1.92, 0.5, None, 1),
    *(
        (GroupKind.CLASS, str(c), 126, 0.8 - 0.07 * c, 0.15, 0.8 + 0.018 * c, 10)
        for c in range(10)
    ),
    *(
        (GroupKind.CLIENT, f"client-{c:02d}", 12, 0.9 - 0.05 * c, 0.7, 0.93, 100)
        for c in range(6)
    ),
)


def _row(
    protection: str,
    by: GroupKind,
    group: str,
    n: int,
    distance: float,
    width: float,
    right: float | None,
    groups: int,
) -> ExposureRow:
    return ExposureRow(
        protection=protection,
        by=by,
        group=group,
        n=n,
        distance=distance,
        low=distance - width,
        high=distance + width,
        confidence=0.999,
        above_all=by is not GroupKind.ALL and distance - width > 0.4,
        accuracy=right,
        accuracy_low=None if right is None else right - 0.06,
        accuracy_high=None if right is None else min(1.0, right + 0.05),
        accuracy_n=0 if right is None else 90,
        groups=groups,
        shadows=16,
    )
