"""Attack by view by protection: whole audits of membership, played by real messages.

Each set is dealt to CLIENTS clients and trained under every protection; the audit's own
attacks look at what each adversary saw. Rows are those of an audit's page: intervals
resample models and records, and the verdicts hold together at 95 % for a set.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attacks.membership.federated.registry import ATTACKS
from benchmarks import four_sets
from fl import audit
from fl.config import Config, load_config
from fl.membership.changes import COHORT
from fl.progress import Silent
from fl.report.schema import LeakageRow, Report

Key = tuple[str, str, str, str]
"""Protection, view, attack, metric."""

CLIENTS, REPEATS = 20, 3
PROTECTIONS = ("none", "secagg", "dp-sgd", "secagg+dp-sgd")
SETTINGS = (
    f"federation.clients={CLIENTS}",
    "federation.participation=1.0",
    "federation.corrupt=2",
    "federation.drop=2",
    "data.test_fraction=0.5",
    'model.kind="mlp"',
    "model.hidden=[64]",
    "training.rounds=20",
    "training.local_epochs=4",
    "training.batch_size=32",
    "training.learning_rate=0.1",
    "privacy.epsilon=8.0",
    "privacy.example.sampling_rate=1.0",
    "privacy.example.batch_size=60",
    "privacy.example.learning_rate=4.0",
    "privacy.example.rounds=20",
    'attacks.federated=["gradient-cosine", "loss-series", "fedmia", "fedmia-cosine"]',
)
# FedMIA where clients stand side by side, and where only their sum is seen.
FEDMIA, APART, TOGETHER = ("fedmia", "fedmia-cosine"), "all uploads", COHORT


def measure(names: Sequence[str], quick: bool) -> dict[str, float]:
    """Print a table for each set; return its AUCs and rates with their intervals.

    Args:
        names: of the sets that are there.
        quick: one set, and fewer seeds and protections.
    """
    figures: dict[str, float] = {}
    for name in names[-1:] if quick else names:
        report = _audited(name, quick)
        figures |= _table(name, report)
    return figures


def _audited(name: str, quick: bool) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        records = four_sets.load(name)
        # As an image of one row, where it is none: scaled already, nothing to learn.
        x = records.x if records.x.ndim == 4 else records.x[:, None]
        path = Path(folder) / f"{name}.npz"
        np.savez(path, x=x, y=records.y)
        config = _config(path, quick)
        out = Path(folder) / "run"
        done = audit.run(
            config, out=out, force=False, progress=Silent(), only="membership"
        )
        return done.report


def _config(path: Path, quick: bool) -> Config:
    protections = PROTECTIONS[:2] if quick else PROTECTIONS
    return load_config(
        None,
        [
            *SETTINGS,
            f"data.source={json.dumps(str(path))}",
            f"repeats={2 if quick else REPEATS}",
            f"protections.names={json.dumps(protections)}",
        ],
    )


def _table(name: str, report: Report) -> dict[str, float]:
    """Print what each attack found in each view, whoever has that view."""
    accuracy = {
        row.protection: row.value for row in report.utility if row.metric == "accuracy"
    }
    claimed = {row.protection: row.epsilon_upper for row in report.privacy}
    print(f"{name}: {CLIENTS} clients")
    for one, value in accuracy.items():
        epsilon = claimed.get(one)
        bound = "no bound" if epsilon is None else f"at most {epsilon:.2f}"
        print(f"  {one:<14} accuracy {value:.3f}, epsilon of a record: {bound}")
    found: dict[Key, LeakageRow] = {}
    who: dict[Key, list[str]] = {}
    for row in report.leakage:
        if row.value is not None:
            key = (row.protection, row.view, row.attack, row.metric)
            found.setdefault(key, row)
            who.setdefault(key, []).append(row.adversary)
    figures = {
        f"accuracy_{name}_{_word(one)}": value for one, value in accuracy.items()
    }
    for key, row in found.items():
        print(
            f"  {row.protection:<14} {row.view:<26} {row.attack:<24} {row.metric:<17} "
            f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]  n {row.n:>5}, seeds "
            f"{len(row.seeds)}  {row.verdict.value:<12}  {', '.join(who[key])}"
        )
        figure = "_".join(_word(part) for part in ("view", name, *key))
        for ending, value in (("", row.value), ("_low", row.low), ("_high", row.high)):
            figures[figure + ending] = float(value or 0.0)
    return figures | _fedmia(name, found)


def _fedmia(name: str, found: Mapping[Key, LeakageRow]) -> dict[str, float]:
    """Say how far FedMIA on each client's updates stands above FedMIA on sums."""
    figures: dict[str, float] = {}
    for attack in FEDMIA:
        title = ATTACKS[attack].title
        clients = found.get(("none", APART, title, "AUC"))
        sums = found.get(("secagg", TOGETHER, title, "AUC"))
        if clients is None or sums is None:
            continue
        above = float(clients.value or 0.0) - float(sums.value or 0.0)
        apart = "apart" if (clients.low or 0.0) > (sums.high or 0.0) else "not apart"
        print(
            f"  {title}: AUC on every client's updates less AUC on sums {above:+.3f}; "
            f"their intervals lie {apart}"
        )
        figures[f"{_word(attack)}_client_less_aggregate_{name}"] = above
    return figures


def _word(text: str) -> str:
    """Return a text as part of a figure's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
