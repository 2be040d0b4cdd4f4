"""Plots of accuracy against epsilon, from the figures of the benchmark `utility`.

    python -m benchmarks utility | tail -1 | python -m benchmarks.curves docs

The last line of the benchmark is all that is drawn: one file for each data set.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

_POINT = re.compile(r"accuracy_([a-z0-9]+)_(.+)_eps_([0-9.]+|inf)")
# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
_STYLES = {
    "central-dp": ("#0072b2", "o", "-"),
    "distributed-dp": ("#d55e00", "s", "-"),
    "dp-ftrl": ("#009e73", "^", "-"),
    "local-dp": ("#666666", "x", "--"),
    "dp-sgd": ("#cc79a7", "D", "-."),
}

Curve = dict[float, tuple[float, float, float]]
"""Mean, low and high end by epsilon; infinity where there is no bound."""


def read(figures: dict[str, float]) -> dict[str, dict[str, Curve]]:
    """Return the curves of every data set, by mechanism."""
    found: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(dict))
    for name, value in figures.items():
        if point := _POINT.fullmatch(name):
            data, mechanism, epsilon = point.groups()
            ends = (figures[f"{name}_low"], figures[f"{name}_high"])
            found[data][mechanism][float(epsilon)] = (value, *ends)
    return {data: dict(curves) for data, curves in found.items()}


def draw(data: str, curves: dict[str, Curve], seeds: int, path: Path) -> None:
    """Write one plot; epsilon on a logarithmic axis."""
    matplotlib.rcParams |= {"svg.hashsalt": "blindsum", "font.size": 10}
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for mechanism, (colour, marker, line) in _STYLES.items():
        if mechanism not in curves:
            continue
        points = sorted(curves[mechanism].items())
        x = [epsilon for epsilon, _ in points]
        low = [value - down for _, (value, down, _) in points]
        high = [up - value for _, (value, _, up) in points]
        y = [value for _, (value, _, _) in points]
        axes.errorbar(
            x,
            y,
            yerr=(low, high),
            color=colour,
            marker=marker,
            linestyle=line,
            capsize=3,
            label=mechanism,
        )
    for value, _, _ in curves.get("none", {}).values():
        axes.axhline(value, color="black", linewidth=1, linestyle=":")
        axes.annotate(
            "no noise",
            (0.01, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
        )
    axes.set_xscale("log", base=2)
    ticks = sorted({x for one in curves.values() for x in one if x < float("inf")})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="epsilon at delta 1e-5", ylabel="held-out accuracy", ylim=(0, 1))
    axes.set_title(f"{data}: {seeds} seeds, 95 % intervals", fontsize=11)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """Draw what comes in, into the folder that the command line names."""
    figures = json.loads(sys.stdin.read().strip().splitlines()[-1])["figures"]
    for data, curves in read(figures).items():
        path = Path(sys.argv[1]) / f"utility-{data}.svg"
        draw(data, curves, int(figures["seeds"]), path)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
