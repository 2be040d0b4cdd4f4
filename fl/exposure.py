"""Who is exposed: from the shadows' scores to rows of sets, and a list for the owner.

One set of shadows serves all protections with the same kind of noise; rows carry the
first protection's name. Sets are of the first seed's training records: by class, by
client, by subgroup where the data name one.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks import clopper_pearson
from attacks.exposure import (
    WORST,
    Exposure,
    MeanDistance,
    exposure,
    mean_distances,
)
from attacks.exposure import most_exposed as measured_apart
from fl.config import Config
from fl.evidence import Evidence
from fl.federation import Federation
from fl.report.exposed import SMALLEST_GROUP, ExposureRow, GroupKind
from fl.seeds import seed_for
from fl.verdict import FAMILY_ERROR

MOST_ROWS = 12  # of one kind and protection; the most exposed ones
LISTED = (10, 0.01, 1000)  # at least, share of the records, at most
LIST_HEAD = ("protection", "rank", "record", "client", "class", "distance")

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """Some training records, and what is held out of the same kind, per repetition."""

    by: GroupKind
    name: str
    rows: Indices  # of the data set
    correct: tuple[tuple[Indices, NDArray[np.bool_]], ...]  # (records, right)


def rows(evidence: Evidence, config: Config) -> tuple[ExposureRow, ...]:
    """Return risk and accuracy of every set of records that is large enough.

    The intervals of one kind (all and most exposed, classes, clients, subgroups) hold
    together at 95 % over all protections (Bonferroni), those of the sets that are not
    shown included. No shadows give no rows.
    """
    measured = {
        name: _measure(evidence, name, config) for name in measured_under(evidence)
    }
    asked = Counter(
        _family(by)
        for kinds in measured.values()
        for by, own in kinds.items()
        for _ in own
    )
    made: list[ExposureRow] = []
    for name, kinds in measured.items():
        whole = kinds[GroupKind.ALL][0][1]
        shadows = len(evidence.shadows[name].members)
        for by, found in kinds.items():
            level = 1 - FAMILY_ERROR / asked[_family(by)]
            own = [
                _row(
                    name,
                    one,
                    mean,
                    whole,
                    groups=len(found),
                    shadows=shadows,
                    level=level,
                )
                for one, mean in found
            ]
            own.sort(key=lambda row: -row.distance)
            made += own[:MOST_ROWS]
    return tuple(made)


def _family(by: GroupKind) -> GroupKind:
    return GroupKind.ALL if by is GroupKind.WORST else by


def measured_under(evidence: Evidence) -> list[str]:
    """Return the protections whose shadows there are, in the order of the report."""
    return [name for name in evidence.repeats[0].runs if name in evidence.shadows]


def found_by_shadows(evidence: Evidence, name: str) -> tuple[Exposure, Indices]:
    """Return the exposure of the first seed's training records, and their rows."""
    shadows = evidence.shadows[name]
    trained = np.sort(evidence.repeats[0].federations[name].train_ids)
    return exposure(shadows.phi[:, trained], shadows.members[:, trained]), trained


def most_exposed(evidence: Evidence) -> str:
    """List the most exposed training records as CSV, for their owner alone.

    Record numbers count the data set's rows from 0, as they were read. One per cent of
    the records are listed, at least 10 and at most 1000. No shadows give no text.
    """
    if not evidence.shadows:
        return ""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(LIST_HEAD)
    for name in measured_under(evidence):
        found, trained = found_by_shadows(evidence, name)
        federation = evidence.repeats[0].federations[name]
        dataset = federation.dataset
        owner = {
            row: one.name for one in federation.clients for row in one.ids.tolist()
        }
        least, share, most = LISTED
        count = min(most, max(least, math.ceil(share * len(trained))))
        worst = np.argsort(-found.shrunk, kind="stable")[:count]
        for rank, place in enumerate(worst, start=1):
            row = int(trained[place])
            label = dataset.class_names[dataset.labels[row]]
            distance = f"{found.shrunk[place]:.3f}"
            out.writerow((name, rank, row, owner[row], label, distance))
    return text.getvalue()


def _measure(
    evidence: Evidence, name: str, config: Config
) -> dict[GroupKind, list[tuple[_Set, MeanDistance]]]:
    found, trained = found_by_shadows(evidence, name)
    sets = list(_sets(evidence, name))
    places = [np.searchsorted(trained, one.rows) for one in sets]
    kinds: dict[GroupKind, list[tuple[_Set, MeanDistance]]] = {}
    for one, mean in zip(sets, mean_distances(found, places), strict=True):
        kinds.setdefault(one.by, []).append((one, mean))
    worst = measured_apart(
        found,
        share=max(WORST, SMALLEST_GROUP / len(trained)),
        seed=seed_for(config.seed, "most exposed", name),
    )
    share = f"the most exposed {100 * worst.n / len(trained):.2g} %"
    hidden = _Set(by=GroupKind.WORST, name=share, rows=trained, correct=())
    kinds[GroupKind.WORST] = [(hidden, worst)]
    return kinds


def _sets(evidence: Evidence, name: str) -> Iterator[_Set]:
    first = evidence.repeats[0].federations[name]
    trained = first.train_ids
    held_out = [
        (repeat.federations[name].held_out.ids, repeat.runs[name].correct)
        for repeat in evidence.repeats
    ]
    yield _Set(by=GroupKind.ALL, name="all", rows=trained, correct=tuple(held_out))
    for by, of, names in _divisions(first):
        parts = [trained[of[trained] == place] for place in range(len(names))]
        for place in shown_of([_people(first, own) for own in parts]):
            right = tuple(
                (ids[of[ids] == place], correct[of[ids] == place])
                for ids, correct in held_out
            )
            yield _Set(by=by, name=names[place], rows=parts[place], correct=right)
    # In another repetition a client has other records: these are of the first alone.
    ids, correct = held_out[0]
    order = np.argsort(ids)
    for client in first.clients:
        if _people(first, client.ids) >= SMALLEST_GROUP:
            like = first.held_out_like(client.ids, first.held_out_of(client.name))
            at = order[np.searchsorted(ids, like, sorter=order)]
            yield _Set(
                by=GroupKind.CLIENT,
                name=client.name,
                rows=client.ids,
                correct=((like, correct[at]),),
            )


def shown_of(people: Sequence[int]) -> list[int]:
    """Return which parts of a whole are shown: none of few people.

    Not one part alone is left out either, since the whole less all others would be it.
    """
    large = [place for place, count in enumerate(people) if count >= SMALLEST_GROUP]
    hidden = [count for count in people if 0 < count < SMALLEST_GROUP]
    if sum(hidden) < SMALLEST_GROUP and hidden and large:
        large.remove(min(large, key=lambda place: people[place]))
    return large


def _people(federation: Federation, rows: Indices) -> int:
    """Count persons, or records where nobody says whose they are."""
    persons = federation.dataset.subjects
    return len(rows if persons is None else np.unique(persons[rows]))


def _divisions(
    federation: Federation,
) -> Iterator[tuple[GroupKind, Indices, Sequence[str]]]:
    """Yield how the records of a data set are divided, and the parts' names."""
    dataset = federation.dataset
    yield GroupKind.CLASS, dataset.labels, dataset.class_names
    if dataset.subgroups is not None:
        yield GroupKind.SUBGROUP, dataset.subgroups, dataset.subgroup_names


def _row(
    protection: str,
    one: _Set,
    mean: MeanDistance,
    whole: MeanDistance,
    *,
    groups: int,
    shadows: int,
    level: float,
) -> ExposureRow:
    risk = mean.estimate(level)
    accuracy = _accuracy(one, level)
    return ExposureRow(
        protection=protection,
        by=one.by,
        group=one.name,
        n=mean.n,
        distance=risk.value,
        low=risk.low,
        high=risk.high,
        confidence=level,
        above_all=one.by is not GroupKind.ALL and mean.above(whole, level),
        accuracy=accuracy[0],
        accuracy_low=accuracy[1],
        accuracy_high=accuracy[2],
        accuracy_n=accuracy[3],
        groups=groups,
        shadows=shadows,
    )


def _accuracy(
    one: _Set, confidence: float
) -> tuple[float | None, float | None, float | None, int]:
    """Return the mean over repetitions, as wide as its distinct records allow.

    Of a few held-out records nothing is said: it would point at people, too.
    """
    each = [ids for ids, _ in one.correct]
    n = len(np.unique(np.concatenate(each))) if each else 0
    if n < SMALLEST_GROUP:
        return None, None, None, 0
    value = float(np.mean([right.mean() for _, right in one.correct if len(right)]))
    found = clopper_pearson(round(value * n), n, confidence)
    return value, min(found.low, value), max(found.high, value), n
