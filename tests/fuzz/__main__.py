"""Throw hostile bytes at everything that reads bytes, and print how far they got.

    python -m tests.fuzz --cases 1000000 --seed 1 [--engine atheris|mutate]

The exit status is 0 only if all the cases ran and none was a finding.
"""

import argparse
import importlib.util
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["auto", "atheris", "mutate"])
    parser.add_argument("--jobs", type=int, default=1, help="processes of mutate")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"))
    options = parser.parse_args()
    if min(options.cases, options.jobs) < 1:
        parser.error("--cases and --jobs must be at least 1.")
    if options.replay:
        return replay(*options.replay)
    has_atheris = importlib.util.find_spec("atheris") is not None
    if options.engine == "atheris" and not has_atheris:
        parser.error("atheris is not installed; run pip install -e '.[fuzz]'.")
    if options.engine == "mutate" or not has_atheris:
        if options.engine != "mutate":
            print("atheris is not installed: damage without guidance by coverage.")
        from tests.fuzz import drive

        report = drive.shared_out(options.cases, options.seed, options.jobs)
        print(report)
        return int(bool(report.findings) or report.cases != options.cases)
    from tests.fuzz import guided

    return guided.run(options.cases, options.seed)


def replay(name: str, path: str) -> int:
    """Run one case again and let what it raises through."""
    from tests.fuzz.targets import TARGETS

    chosen = [target for target in TARGETS if target.name == name]
    if not chosen:
        names = "\n  ".join(target.name for target in TARGETS)
        print(f"no target {name!r}; there are\n  {names}")
        return 2
    print(chosen[0].run(Path(path).read_bytes()).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
