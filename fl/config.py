"""Read a configuration: a TOML file, then `--set`, then flags; all errors at once.

    config = load_config("hospitals.toml", ["data.folder=/srv/heart"], seed=7)

Later layers win. The values and their defaults are in `fl.settings`. An unknown key
is an error that names the nearest valid one. This module reads the TOML file only,
no data; relative data paths stay relative to the working directory.
"""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fl.attack_settings import AttacksConfig
from fl.data.settings import DataConfig
from fl.errors import ConfigError
from fl.log_settings import LogConfig
from fl.privacy_settings import PrivacyConfig
from fl.settings import (
    Config,
    FederationConfig,
    ModelConfig,
    OutputConfig,
    ProtectionsConfig,
    TrainingConfig,
)

__all__ = [
    "AttacksConfig",
    "Config",
    "DataConfig",
    "FederationConfig",
    "LogConfig",
    "ModelConfig",
    "OutputConfig",
    "PrivacyConfig",
    "ProtectionsConfig",
    "TrainingConfig",
    "load_config",
]

Tree = dict[str, object]

# What `blindsum audit` runs without a file; every figure in it is explained there.
DEFAULTS = Path(__file__).resolve().with_name("defaults.toml")

# Synonyms: what people write -> the key it stands for.
SYNONYMS = {("data", "path"): ("data", "source")}

_LINE_AND_COLUMN = re.compile(r"\(at line (\d+), column (\d+)\)")


def load_config(
    path: str | PathLike[str] | None,
    sets: Sequence[str] = (),
    *,
    name: str | None = None,
    seed: int | None = None,
    profile: str | None = None,
    out: str | None = None,
    allow_useless: bool = False,
) -> Config:
    """Return the configuration of a run, every key with a value.

    Guarantee: a key that is misspelt, a value of the wrong type or a combination that
    cannot work is refused here, before any data is read or any file is written.

    Args:
        path: a TOML file, or None for the run in `fl/defaults.toml`.
        sets: "section.key=value"; the value is TOML, and what is not TOML is a string.
        name: overrides the key of the same name, as do the ones below.
        seed: overrides `seed`.
        profile: overrides `profile`.
        out: overrides `output.out`.
        allow_useless: sets `privacy.allow_useless`.

    Raises:
        ConfigError: the user's fault; its message lists every problem found.
    """
    tree = _read(Path(path) if path is not None else DEFAULTS)
    where = Path(path).name if path is not None else "the defaults"
    problems = _apply_synonyms(tree)
    from_sets: set[tuple[str, ...]] = set()
    for text in sets:
        try:
            from_sets.add(_set(tree, text))
        except ConfigError as error:
            problems.append(str(error))
    flags = {"name": name, "seed": seed, "profile": profile}
    tree.update({key: value for key, value in flags.items() if value is not None})
    if out is not None:
        _put(tree, ("output", "out"), out, "--out")
    if allow_useless:
        _put(tree, ("privacy", "allow_useless"), True, "--allow-useless")
    if "name" not in tree:
        tree["name"] = _name_of(tree.get("data"))
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems += [_sentence(one, where, from_sets) for one in found]
    if problems:
        raise ConfigError(_join(problems))
    return config


def _name_of(data: object) -> str:
    """Name a run after its data, where nobody named it."""
    values = data if isinstance(data, dict) else {}
    if values.get("sites"):
        return "sites"
    source = values.get("source", "digits")
    stem = Path(source).stem if isinstance(source, str) else "run"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64] or "run"


def _read(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; give the path of a .toml file, or none for the "
            f"defaults."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); give a readable .toml file."
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _LINE_AND_COLUMN.search(str(error))
        lines = text.splitlines() or [""]
        line, column = (at[1], at[2]) if at else (len(lines), len(lines[-1]) + 1)
        what = str(error).split(" (at ")[0]
        raise ConfigError(
            f"{path}, line {line}, column {column}: not TOML ({what}); correct it "
            f"there."
        ) from error


def _apply_synonyms(tree: Tree) -> list[str]:
    """Rename synonyms in place; return what is wrong with them."""
    problems = []
    for (section, alias), (_, key) in SYNONYMS.items():
        values = tree.get(section)
        if not isinstance(values, dict) or alias not in values:
            continue
        if key in values:
            problems.append(
                f"{section}.{alias} and {section}.{key} are the same; give one of them."
            )
        values[key] = values.pop(alias)
    return problems


def _set(tree: Tree, text: str) -> tuple[str, ...]:
    """Apply one --set to the tree; return the key that it named."""
    dotted, equals, raw = text.partition("=")
    keys = _keys(dotted)
    if not equals or not keys:
        raise ConfigError(
            f"--set {text}: want section.key=value, e.g. --set training.rounds=5."
        )
    keys = SYNONYMS.get(keys, keys) if len(keys) == 2 else keys
    _put(tree, keys, _value(raw.strip()), f"--set {text}")
    return keys


def _keys(dotted: str) -> tuple[str, ...]:
    """Read a dotted key, in which TOML's quotes may hide dots; () if it is none."""
    try:
        node: object = tomllib.loads(f"{dotted.strip()} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    keys: list[str] = []
    while isinstance(node, dict):
        if len(node) != 1:
            return ()
        keys.append(next(iter(node)))
        node = node[keys[-1]]
    return tuple(keys)


def _value(raw: str) -> object:
    """Read a value as TOML; a bare word, a path or a date is a string."""
    try:
        parsed = tomllib.loads(f"v = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    dates = datetime.date | datetime.time
    if set(parsed) != {"v"} or isinstance(parsed["v"], dates):
        return raw
    value: object = parsed["v"]
    return value


def _put(tree: Tree, keys: tuple[str, ...], value: object, source: str) -> None:
    node = tree
    for depth, key in enumerate(keys[:-1], start=1):
        below = node.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(
                f"{source}: {'.'.join(keys[:depth])} is a value, not a section."
            )
        node = below
    node[keys[-1]] = value


def _sentence(error: ErrorDetails, where: str, from_sets: set[tuple[str, ...]]) -> str:
    """Turn one of pydantic's findings into what, where and the cure."""
    loc = tuple(str(part) for part in error["loc"])
    key = ".".join(loc)
    by_set = any(
        loc[: len(keys)] == keys or keys[: len(loc)] == loc for keys in from_sets
    )
    source = "--set" if by_set else where
    if error["type"] == "extra_forbidden":
        return f"unknown key {key} in {source}; {_nearest(loc)}"
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return f"{source}: {key} {context['error']}"
    what = error["msg"].removeprefix("Input should be ").replace("tuple", "list")
    if error["type"] == "model_type":
        return f"{source}: {key} must be a section, [{key}]."
    return f"{source}: {key} = {error['input']!r} must be {what}."


def _nearest(loc: tuple[str, ...]) -> str:
    """Name the valid key that is nearest to an unknown one."""
    sections = dict(_sections())
    inside = ".".join(loc[:-1])
    siblings = sections.get(inside, []) if inside else list(Config.model_fields)
    # The right key in the wrong section is a better guess than a similar spelling.
    for section, keys in sections.items():
        if loc[-1] in keys:
            return f"did you mean {section}.{loc[-1]}?"
    near = difflib.get_close_matches(loc[-1], siblings, n=1)
    if near:
        return f"did you mean {'.'.join((*loc[:-1], near[0]))}?"
    return f"the keys there are {', '.join(siblings)}."


def _sections(
    model: type[BaseModel] = Config, within: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield every section, those inside of others too, with its keys."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            aliases = [alias for (section, alias) in SYNONYMS if section == name]
            yield f"{within}{name}", [*inner.model_fields, *aliases]
            yield from _sections(inner, f"{within}{name}.")


def _join(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    listed = "\n".join(f"  - {problem}" for problem in problems)
    return f"{len(problems)} problems in the configuration:\n{listed}"
