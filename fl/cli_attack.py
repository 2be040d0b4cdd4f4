"""`blindsum attack`: a family of attacks, chosen ones, or those on a saved update."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from attacks import InversionAttack
from attacks.membership import ATTACKS as MEMBERSHIP
from fl import audit as audits
from fl.attack_benchmark import Ask, benchmark
from fl.attack_names import (
    ATTACKS,
    USUAL,
    USUAL_TOKENS,
    attack_named,
    check_named,
)
from fl.attack_tables import answers, sentences, summary
from fl.attack_update import attack_update, load
from fl.cli_ending import finish, stoppable
from fl.cli_options import (
    AttackFamily,
    ConfigFile,
    Effort,
    Force,
    Jobs,
    MLflow,
    Out,
    Quiet,
    Resume,
    Seed,
    Sets,
    TensorBoard,
    refuse_others,
    with_trackers,
)
from fl.config import Config, load_config
from fl.console import attacks
from fl.errors import ConfigError
from fl.progress import reporter
from fl.stages.setting import effort

ATTACK_EXAMPLES = """
Examples:

  blindsum attack inversion --profile quick

  blindsum attack membership --set attacks.shadows=32

  blindsum attack membership --attack lira-offline --attack rmia-offline

  blindsum attack inversion --attack linear --attack cosine --victims 50 --batch 4

  blindsum attack inversion --attack linear --protection none --protection secagg

  blindsum attack inversion --observation update.npz --model my.module:Net
"""


class Checkpoint(StrEnum):
    """Which model the victims' step starts from."""

    trained = "trained"
    untrained = "untrained"


Names = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        metavar="NAME",
        help=f"This attack alone. Of inversion: {', '.join(ATTACKS)}. Of membership: "
        f"{', '.join(MEMBERSHIP)}.",
    ),
]
Victims = Annotated[
    int | None, typer.Option(min=1, help="How many records or updates to attack.")
]
Batch = Annotated[int, typer.Option(min=1, help="Records in a victim's step.")]
Start = Annotated[Checkpoint, typer.Option(help="The model that the step starts from.")]
Under = Annotated[
    list[str] | None,
    typer.Option("--protection", metavar="NAME", help="Under this one; none at first."),
]
Data = Annotated[
    str | None, typer.Option(metavar="SOURCE", help="The same as --set data.source=.")
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="KIND", help="The same as --set model.kind=; package.module:Class too."
    ),
]
Update = Annotated[
    Path | None,
    typer.Option(
        "--observation", metavar="FILE", help="Attack this saved update instead."
    ),
]


def attack(
    family: Annotated[AttackFamily, typer.Argument(help="Which attacks.")],
    config: ConfigFile = None,
    names: Names = None,
    victims: Victims = None,
    batch: Batch = 1,
    checkpoint: Start = Checkpoint.trained,
    protection: Under = None,
    data: Data = None,
    model: Model = None,
    observation: Update = None,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    profile: Effort = None,
    force: Force = False,
    quiet: Quiet = False,
    jobs: Jobs = None,
    resume: Resume = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
) -> None:
    """Attack a real run with one family of attacks, beside null baselines.

    With --attack, chosen inversion attacks run on as many victims as you say, and
    chosen membership attacks instead of the usual ones; with --observation, inversion
    attacks on an update that some other system sent.
    """
    of_members: list[str] | None = None
    if family is AttackFamily.membership:
        of_members, names = names, None
    only, chosen = family.value, bool(names) or observation is not None
    start = batch != 1 or checkpoint is not Checkpoint.trained
    log = tensorboard or mlflow is not None
    _check_choice(family, chosen=chosen, start=start, log=log)
    if observation is not None and config is None and model is None:
        raise ConfigError("--observation needs --model, the client's architecture.")
    if observation is not None and (start or victims or protection or data):
        raise ConfigError(
            "--observation is attacked without a run; leave out --data, --protection, "
            "--victims, --batch and --checkpoint."
        )
    if resume is not None:
        refuse_others(config, out, sets, seed, profile, mlflow, names, observation)
        refuse_others(victims, data, model, protection, of_members, force or None)
        refuse_others(tensorboard or None)
        with stoppable(), reporter(quiet=quiet) as progress:
            result = audits.resume(resume, progress=progress, only=only)
        _show(result)
        return
    shortcuts = _sets(data, model, protection, victims, of_members, chosen=bool(names))
    trackers = with_trackers([*shortcuts, *(sets or ())], tensorboard, mlflow)
    settings = load_config(config, trackers, seed=seed, profile=profile)
    if observation is not None:
        _attack_update(observation, names, settings, out=out, force=force)
    elif names:
        ask = Ask(
            attacks=_chosen(names, settings),
            victims=victims or effort(settings)[0],
            batch=batch,
            checkpoint=checkpoint.value,
        )
        _benchmark(ask, settings, out=out, force=force, quiet=quiet)
    else:
        with stoppable(), reporter(quiet=quiet) as progress:
            result = audits.run(
                settings, out=out, force=force, progress=progress, only=only
            )
        _show(result)


def _check_choice(
    family: AttackFamily, *, chosen: bool, start: bool, log: bool
) -> None:
    """Refuse options that would be passed over in silence.

    Raises:
        ConfigError: `start` or `log` options go with another way of attacking.
    """
    if chosen and family is not AttackFamily.inversion:
        raise ConfigError(
            "--observation is of `blindsum attack inversion` and --attack of inversion "
            f"and membership; leave them out of {family.value}."
        )
    if chosen and log:
        raise ConfigError("--tensorboard and --mlflow log whole runs; leave them out.")
    if not chosen and start:
        raise ConfigError(
            "--batch and --checkpoint go with --attack; without it every batch size of "
            "attacks.batches and both checkpoints are attacked."
        )


def _benchmark(
    ask: Ask, config: Config, *, out: Path | None, force: bool, quiet: bool
) -> None:
    with stoppable(), reporter(quiet=quiet) as progress:
        done = benchmark(config, ask, out=out, force=force, progress=progress)
    _console().print(summary(done.rows))
    for line in sentences(done.rows):
        print(line)
    print(f"Results: {done.folder / 'results.json'}")


def _show(result: audits.AuditResult) -> None:
    _console().print(attacks(result.report))
    seeds = ", ".join(str(seed) for seed in result.report.manifest.seeds.values())
    print(f"Intervals hold together at 95 % over all rows; seeds {seeds}.")
    finish(result)


def _attack_update(
    path: Path,
    names: list[str] | None,
    config: Config,
    *,
    out: Path | None,
    force: bool,
) -> None:
    observation = load(path, config)
    usual = USUAL if observation.tokens is None else USUAL_TOKENS
    done = attack_update(
        observation,
        _chosen(names or usual, config),
        config,
        out=out,
        force=force,
    )
    _console().print(answers(done.answers))
    for finding in done.findings:
        print(f"{finding.trouble.value}: {finding.sentence}")
    if not done.findings:
        print("Nothing about this update speaks against an attack.")
    print("There is no truth to score against: only 'certified' is proven.")
    print(f"Results: {done.folder / 'results.json'}; what came out: private/.")


def _chosen(names: Sequence[str], config: Config) -> tuple[InversionAttack, ...]:
    iterations = effort(config)[1]
    return tuple(attack_named(name, iterations) for name in dict.fromkeys(names))


def _sets(
    data: str | None,
    model: str | None,
    protection: list[str] | None,
    victims: int | None,
    of_members: list[str] | None,
    *,
    chosen: bool,
) -> list[str]:
    """Return the options that stand for keys of the configuration.

    Raises:
        ConfigError: there is no membership attack of this name.
    """
    for name in of_members or ():
        check_named(name, MEMBERSHIP)
    given: dict[str, object] = {
        "data.source": data,
        "model.kind": model,
        "protections.names": protection or (["none"] if chosen else None),
        "attacks.victims": victims,
        "attacks.membership": list(dict.fromkeys(of_members)) if of_members else None,
    }
    return [
        f"{key}={json.dumps(value)}"
        for key, value in given.items()
        if value is not None
    ]


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 220)
