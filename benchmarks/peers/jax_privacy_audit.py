"""What jax-privacy's auditor says about fixed scores: golden figures for our tests.

    python -m benchmarks.peers.jax_privacy_audit

The scores are quantiles of two normal distributions, so no generator of random numbers
has to agree. Both sides count a score at or above a threshold; ours says "above", so
thresholds lie between scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from statistics import NormalDist
from typing import Any

REQUIREMENTS = ("jax-privacy==2.0.0",)
SIGNIFICANCE = 0.05
DELTA = 1e-5
# Canaries of each kind, and how far the scores of those inside lie above.
GAMES = ((40, 1.5), (50, 0.1), (200, 0.0), (200, 1.0), (500, 3.0), (2000, 2.0))
FPRS = (0.01, 0.05, 0.1, 0.5)


def main() -> int:
    """Write the figures of the peer, asked in an environment of its own."""
    if "--inside" in sys.argv:
        print(dumped(figures()))
        return 0
    # Its environment has nothing of ours but NumPy and SciPy, and need not.
    from benchmarks.peers.asking import ROOT
    from benchmarks.peers.environment import python_of

    python = python_of("jax_privacy", REQUIREMENTS)
    command = [python, "-m", "benchmarks.peers.jax_privacy_audit", "--inside"]
    found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    path = ROOT / "tests" / "vectors" / "jax_privacy_audit.json"
    path.write_bytes(found.stdout)
    print(f"written: {path.relative_to(ROOT)}")
    return 0


def scores(count: int, shift: float) -> tuple[list[float], list[float]]:
    """Return scores of canaries inside and outside, distinct, at fixed quantiles."""
    inside = [NormalDist(shift).inv_cdf((i + 0.3) / count) for i in range(count)]
    outside = [NormalDist().inv_cdf((i + 0.7) / count) for i in range(count)]
    return [round(x, 6) for x in inside], [round(x, 6) for x in outside]


def figures() -> dict[str, Any]:
    """Ask the auditor; needs jax-privacy."""
    rows = [_game(count, shift) for count, shift in GAMES]
    return {
        "source": f"jax-privacy {version('jax-privacy')}, CanaryScoreAuditor",
        "significance": SIGNIFICANCE,
        "delta": DELTA,
        "rows": rows,
    }


def _game(count: int, shift: float) -> dict[str, Any]:
    from jax_privacy import auditing

    auditor = auditing.CanaryScoreAuditor(*scores(count, shift))
    threshold = round(shift / 2 + 0.123, 6)
    far = round(shift + 0.777, 6)
    row: dict[str, Any] = {
        "count": count,
        "shift": shift,
        "auroc_of_hull": auditor.attack_auroc(),
        "max_accuracy": auditor.max_accuracy(),
        "tpr_of_hull": {str(f): auditor.tpr_at_given_fpr(f) for f in FPRS},
        "gdp": auditor.epsilon_from_gdp(SIGNIFICANCE, DELTA),
        "thresholds": {},
    }
    for at in (threshold, far):
        explicit = auditing.Explicit(at)
        asked = {"significance": SIGNIFICANCE, "delta": DELTA}
        row["thresholds"][str(at)] = {
            "clopper_pearson": auditor.epsilon_clopper_pearson(
                **asked, one_sided=False, threshold_strategy=explicit
            ),
            "one_run": auditor.epsilon_one_run(**asked, threshold_strategy=explicit),
            "one_run_fdp": auditor.epsilon_one_run_fdp(
                **asked, threshold_strategy=explicit
            ),
        }
    return row


def dumped(record: dict[str, Any]) -> str:
    """Return JSON with figures rounded to what both sides compute."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return value if isinstance(value, (str, int)) else round(float(value), 7)

    return json.dumps(plain(record), indent=1)


if __name__ == "__main__":
    sys.exit(main())
