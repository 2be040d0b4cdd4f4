"""The ``blindsum`` command: parse, call, print. Nothing is computed here.

Exit status: 0 done; 2 bad input (one sentence: what, where, the cure); 3 a gate failed;
130 stopped by Ctrl-C (what was done is kept); 1 a defect of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

try:  # typer carries its own click since 0.21; before, it leant on the package
    from typer import TyperException as UsageFault  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    from click import ClickException as UsageFault  # type: ignore[no-redef,unused-ignore]

import dp
import secagg
from fl import audit as audits
from fl import doctor as doctors
from fl.cli_attack import ATTACK_EXAMPLES, attack
from fl.cli_audit_model import AUDIT_MODEL_EXAMPLES, audit_model
from fl.cli_dp import dp_app
from fl.cli_ending import complain, finish, stoppable
from fl.cli_options import (
    ConfigFile,
    DryRun,
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
    Useless,
    refuse_others,
    with_trackers,
)
from fl.cli_report import report_app
from fl.cli_secagg import secagg_app
from fl.config import load_config
from fl.console import accuracies
from fl.errors import UserError
from fl.folder import StoppedRun
from fl.progress import reporter
from fl.status import BAD_INPUT, INTERRUPTED

app = typer.Typer(
    name="blindsum",
    help="Audit what a federated run leaks, attack it, protect it.",
    add_completion=False,
    # A traceback with local variables would print updates and keys.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"blindsum {version('blindsum')}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, help="Say which version."),
    ] = False,
) -> None:
    """Audit what a federated run leaks, attack it, protect it."""


app.add_typer(secagg_app, name="secagg")
app.add_typer(dp_app, name="dp")
app.add_typer(report_app, name="report")


AUDIT_EXAMPLES = """
Examples:

  blindsum audit

  blindsum audit hospitals.toml --set data.folder=/srv/heart --out runs/heart

  blindsum audit --profile quick --seed 7 --set training.rounds=5

  blindsum audit --resume runs/heart
"""


@app.command(epilog=AUDIT_EXAMPLES)
def audit(
    config: ConfigFile = None,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    profile: Effort = None,
    force: Force = False,
    quiet: Quiet = False,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    allow_useless: Useless = False,
    resume: Resume = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
) -> None:
    """Train under each protection, attack what each adversary saw, write one page."""
    if resume is not None:
        refuse_others(config, out, sets, seed, profile, mlflow)
        refuse_others(
            *(one or None for one in (force, dry_run, allow_useless, tensorboard))
        )
        with stoppable(), reporter(quiet=quiet) as progress:
            result = audits.resume(resume, progress=progress)
    else:
        settings = load_config(
            config,
            with_trackers(sets, tensorboard, mlflow),
            seed=seed,
            profile=profile,
            allow_useless=allow_useless,
        )
        if dry_run:
            for line in audits.describe(settings):
                print(line)
            return
        with stoppable(), reporter(quiet=quiet) as progress:
            result = audits.run(settings, out=out, force=force, progress=progress)
    for sentence in result.report.answer:
        print(sentence)
    finish(result)


TRAIN_EXAMPLES = """
Examples:

  blindsum train --set protections.names='["secagg"]'

  blindsum train hospitals.toml --set data.folder=/srv/heart --seed 3

  blindsum train --tensorboard
"""


@app.command(epilog=TRAIN_EXAMPLES)
def train(
    config: ConfigFile = None,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    force: Force = False,
    quiet: Quiet = False,
    jobs: Jobs = None,
    resume: Resume = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
) -> None:
    """Train under each protection, without attacks; keep the models and the log."""
    if resume is not None:
        refuse_others(
            config, out, sets, seed, mlflow, force or None, tensorboard or None
        )
        with stoppable(), reporter(quiet=quiet) as progress:
            done = audits.resume_training(resume, progress=progress)
    else:
        trackers = with_trackers(sets, tensorboard, mlflow)
        settings = load_config(config, trackers, seed=seed)
        with stoppable(), reporter(quiet=quiet) as progress:
            done = audits.train_only(settings, out=out, force=force, progress=progress)
    Console().print(accuracies(done.utility))
    print(f"Training: {done.how}.")
    print(f"Models and log: {done.folder}")
    if done.interrupted:
        complain(str(StoppedRun(done.folder)))
        raise typer.Exit(INTERRUPTED)


app.command("attack", epilog=ATTACK_EXAMPLES)(attack)
app.command("audit-model", epilog=AUDIT_MODEL_EXAMPLES)(audit_model)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and whether aggregation works here."""
    checks = list(doctors.examine())
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<20} {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(BAD_INPUT)


def run(arguments: Sequence[str]) -> int:
    """Run the command with ``arguments``; return its exit status."""
    try:
        status = app(list(arguments) or ["--help"], standalone_mode=False)
    except (
        UserError,
        secagg.ParameterError,
        dp.ParameterError,
        dp.LedgerError,
    ) as error:
        return complain(str(error))
    except UsageFault as error:
        return complain(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        complain("stopped by Ctrl-C; nothing was written.")
        return INTERRUPTED
    return status if isinstance(status, int) else 0
