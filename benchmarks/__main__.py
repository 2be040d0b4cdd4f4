"""`python -m benchmarks NAME [--quick]`: run one benchmark and print its figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from benchmarks import round as round_
from benchmarks import simulate
from fl.manifest import commit, machine

Figures = dict[str, float]
TABLE: dict[str, Callable[[bool], Figures]] = {
    "round": round_.measure,
    "simulate": simulate.measure,
}


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(TABLE), help="which one")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and sizes")
    options = parser.parse_args()
    if options.name is None:
        print("benchmarks:", ", ".join(sorted(TABLE)))
        return 0
    figures = TABLE[options.name](options.quick)
    record = {
        "benchmark": options.name,
        "machine": machine().model_dump(),
        "commit": commit(),
        "figures": figures,
    }
    print(json.dumps(record, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
