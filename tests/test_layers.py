"""Who may import whom: the borders of the house, read off the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("secagg", "dp", "attacks", "fl")
OUTSIDE = ("benchmarks", "tests", "examples", "blindsum")

FORBIDDEN = {
    "secagg": {"dp", "attacks", "fl", "torch", "opacus", "flwr", "sklearn", "scipy"},
    "dp": {"secagg", "attacks", "fl", "flwr", "tenseal"},
    "attacks": {"secagg", "dp", "fl", "opacus", "flwr", "tenseal"},
    "fl": set[str](),
}
# Inside secagg each module imports only from those before it.
SECAGG_ORDER = (
    "errors usage threads packing ring sums draft ciphers prg streams rounding "
    "rotation precision checksums keys shamir encoder offered encode noise schema "
    "masks boxes tails degree feasibility params planning permutation graph policy "
    "rowspace monitor wire invite journal keylist "
    "dealing upload moduli ciphertext approximate_frame approximate reveal messages "
    "states member client recovery tally faults gate server transcript round "
    "aggregator turnout traffic cost footprint testing he store_file store stream"
).split()
CODE_CARRYING = {"pickle", "dill", "marshal", "shelve", "cloudpickle"}
MEETING_POINTS = {"utils", "common", "helpers"}


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    package = _module(path) if path.name == "__init__.py" else None
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = (package or _module(path).rpartition(".")[0]).split(".")
                here = here[: len(here) - node.level + 1]
                base = ".".join([*here, base] if base else here)
            yield from (f"{base}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_layer_may(package: str) -> None:
    forbidden = FORBIDDEN[package] | set(OUTSIDE) - {"blindsum"}
    bad = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _files(package)
        for name in _imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert _files(package), f"{package} has no modules"
    assert not bad, bad


def test_secagg_modules_import_only_upwards_in_their_order() -> None:
    rank = {name: i for i, name in enumerate(SECAGG_ORDER)}
    bad = []
    for path in _files("secagg"):
        here = _module(path).split(".")
        if len(here) < 2:
            continue
        assert here[1] in rank, f"secagg/{here[1]} is missing from SECAGG_ORDER"
        for name in _imports(path):
            there = name.split(".")
            if there[0] != "secagg" or len(there) < 2 or there[1] == here[1]:
                continue
            if there[1] not in rank or rank[there[1]] > rank[here[1]]:
                bad.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not bad, bad


def test_there_are_no_import_cycles() -> None:
    modules = {_module(p): p for package in PACKAGES for p in _files(package)}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        edges[module] = set()
        for name in _imports(path, top_level=True):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                edges[module].add(target)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_nothing_imports_a_serialiser_that_carries_code() -> None:
    bad = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES
        for path in _files(package)
        for name in _imports(path)
        if name.split(".")[0] in CODE_CARRYING
    ]
    assert not bad, bad


def test_nothing_evaluates_text_or_loads_foreign_tensors() -> None:
    bad = []
    for package in PACKAGES:
        for path in _files(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                words = {ast.unparse(one) for one in node.keywords}
                if name == "torch.load" and "weights_only=True" in words:
                    continue  # tensors and nothing else
                if name in {"eval", "exec", "torch.load"}:
                    bad.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {name}")
    assert not bad, bad


def test_no_module_is_a_meeting_point_for_leftovers() -> None:
    bad = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in _files(package)
        if path.stem in MEETING_POINTS
    ]
    assert not bad, bad
