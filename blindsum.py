"""One door to the toolkit: ``from blindsum import audit, secagg, dp, attacks, fl``.

Everything is imported on first use, so ``import blindsum`` costs nothing and needs only
the base install. The four packages have short names that other people use too; before
one is imported it is checked to be the one that was installed with this file. This
module does no work of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

__version__ = "0.1.0"
__all__ = [  # noqa: F822 (lazy)
    "attacks",
    "audit",
    "audit_model",
    "dp",
    "fl",
    "main",
    "secagg",
]

PACKAGES = ("secagg", "dp", "attacks", "fl")
_HOME = Path(__file__).resolve().parent
_INTERRUPTED = 130
_EXTRA_CURE = "pip install 'blindsum[fl]'"


def __getattr__(name: str) -> object:
    if name in PACKAGES:
        return _own(name)
    if name == "audit":
        _check_all()
        return importlib.import_module("fl.audit").audit
    if name == "audit_model":
        _check_all()
        return importlib.import_module("fl.model_audit").audit_model
    raise AttributeError(f"module 'blindsum' has no attribute {name!r}.")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def main() -> None:
    """Run the ``blindsum`` command; exit with status 2 and one sentence on bad input.

    Raises:
        SystemExit: always, with the command's exit status.
    """
    try:
        _check_all()
    except ImportError as error:
        sys.exit(_complain(str(error)))
    try:
        cli = importlib.import_module("fl.cli")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in PACKAGES:
            raise
        sys.exit(
            _complain(
                f"the command needs the package {error.name!r}, which is not "
                f"installed; run {_EXTRA_CURE}."
            )
        )
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    # Schedulers stop a job by SIGTERM: end as for Ctrl-C, which keeps what was done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(cli.run(sys.argv[1:]))


def _own(name: str) -> ModuleType:
    _check(name)
    return importlib.import_module(name)


def _check_all() -> None:
    # One package imports the others by their bare names, so all four must be ours.
    for name in PACKAGES:
        _check(name)


def _check(name: str) -> None:
    found = _folder_of(name)
    if found != _HOME / name:
        raise ImportError(
            f"the package {name!r} found at {found} is not the one installed with "
            f"blindsum at {_HOME / name}; rename it or take its folder off sys.path."
        )


def _folder_of(name: str) -> Path | None:
    # Ask where the name would come from without running foreign code.
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin


def _complain(sentence: str) -> int:
    print(f"blindsum: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
