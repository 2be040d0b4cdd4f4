"""`python -m benchmarks NAME [--quick] [--peer PEER]`: print a benchmark's figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from benchmarks import (
    dpsgd,
    encode,
    estimate,
    faults,
    he,
    inversion,
    mask,
    membership,
    memory,
    private,
    scale,
    simulate,
    utility,
)
from benchmarks import round as round_
from benchmarks.four_sets import FOLDER
from fl.manifest import commit, machine

Figures = dict[str, float]
TABLE: dict[str, Callable[[bool, Sequence[str]], Figures]] = {
    "dpsgd": lambda quick, _: dpsgd.measure(quick),
    "encode": encode.measure,
    "estimate": lambda quick, _: estimate.measure(quick),
    "faults": lambda quick, _: faults.measure(quick),
    "he": he.measure,
    "inversion": inversion.measure,
    "mask": mask.measure,
    "membership": lambda quick, _: membership.measure(quick),
    "memory": lambda quick, _: memory.measure(quick),
    "private": lambda quick, _: private.measure(quick),
    "round": round_.measure,
    "scale": lambda quick, _: scale.measure(quick),
    "simulate": simulate.measure,
    "utility": lambda quick, _: utility.measure(quick),
}
PEERS = {
    "encode": encode.PEERS,
    "he": he.PEERS,
    "inversion": inversion.PEERS,
    "mask": mask.PEERS,
    "round": round_.PEERS,
    "simulate": tuple(simulate.PEERS),
}


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(TABLE), help="which one")
    parser.add_argument("--data", help="folder of data sets (else BLINDSUM_DATA)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and sizes")
    parser.add_argument(
        "--peer", action="append", help="this peer alone; again for another"
    )
    options = parser.parse_args()
    if options.name is None:
        print("benchmarks:", ", ".join(sorted(TABLE)))
        return 0
    if options.data is not None:
        os.environ[FOLDER] = options.data
    known = PEERS.get(options.name, ())
    for peer in options.peer or ():
        if peer not in known:
            parser.error(f"{options.name} has no peer {peer} (it has: {known})")
    figures = TABLE[options.name](options.quick, options.peer or known)
    print(as_json(options.name, figures))
    return 0


def as_json(name: str, figures: Figures) -> str:
    """Return the last line that a benchmark prints; a figure must be finite."""
    record = {
        "benchmark": name,
        "machine": machine().model_dump(),
        "commit": commit(),
        "figures": figures,
    }
    return json.dumps(record, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
