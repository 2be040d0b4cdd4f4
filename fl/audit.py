"""The audit: one configuration in, one page out. What the command and `import` call.

``audit()`` is the programmer's door, ``run`` the command's. Bad input is refused before
any folder is made; a run appears under its name only when it is whole, or when Ctrl-C
stopped it after at least one repetition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from fl import crowd, exposure, guarantees, tables
from fl.answer import answer
from fl.config import Config, load_config
from fl.coverage import not_covered
from fl.errors import UserError
from fl.evidence import Evidence
from fl.gates import gates
from fl.gather import FAMILIES, gather
from fl.manifest import manifest
from fl.pictures import galleries
from fl.plans import promise
from fl.plots import curves
from fl.preparation import prepare
from fl.progress import Reporter, Silent
from fl.report import Claim, Report, UtilityRow, from_json, write
from fl.sitting import Sitting, beginning, going_on
from fl.stages.setting import effort
from fl.validity import validity
from fl.verdict import decide

REPORT = "report.json"
# A model of somebody's own records is not to be handed on like the page.
PUBLIC, OWNER_ONLY = 0o644, 0o600
TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """A finished audit: its folder, its report, and whether Ctrl-C cut it short."""

    folder: Path
    report: Report
    interrupted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Training runs without attacks, and whether Ctrl-C cut them short.

    ``how`` says how clients were batched, and why so.
    """

    folder: Path
    utility: tuple[UtilityRow, ...]
    how: str
    interrupted: bool


def audit(
    config: str | Path | Config | None = None,
    *,
    out: str | Path | None = None,
    sets: Sequence[str] = (),
    seed: int | None = None,
) -> AuditResult:
    """Train under each protection, attack what each adversary saw, write one page.

    Args:
        config: a TOML file, a configuration, or None for the built-in digits.
        out: the run's folder; None makes ``runs/<UTC time>-<name>``.
        sets: overrides as on the command line, "section.key=value".
        seed: overrides the configuration's.

    Returns:
        The folder and the report.

    Raises:
        UserError: bad input; nothing was written.
    """
    if not isinstance(config, Config):
        config = load_config(config, sets, seed=seed)
    return run(
        config,
        out=None if out is None else Path(out),
        force=False,
        progress=Silent(),
    )


def run(
    config: Config,
    *,
    out: Path | None,
    force: bool,
    progress: Reporter,
    only: str | None = None,
) -> AuditResult:
    """Run the audit; ``only`` restricts it to one family of attacks."""
    with beginning(config, out, _command(only), progress, force=force) as sitting:
        return _audit(sitting, only)


def resume(run: Path, *, progress: Reporter, only: str | None = None) -> AuditResult:
    """Go on with an audit that was stopped, to the same bits.

    Args:
        run: its folder, or the draft that a kill has left.
        progress: told of long work.
        only: the family of attacks that it was begun with.

    Raises:
        UserError: it is finished or no run, somebody else is at work on it, something
            that decides its bits has changed, or a piece is damaged; nothing was
            changed.
    """
    with going_on(run, _command(only), progress) as sitting:
        return _audit(sitting, only)


def train_only(
    config: Config, *, out: Path | None, force: bool, progress: Reporter
) -> Trained:
    """Train under each protection and keep the models and the log, without attacks."""
    with beginning(config, out, TRAIN, progress, force=force) as sitting:
        return _train(sitting)


def resume_training(run: Path, *, progress: Reporter) -> Trained:
    """Go on with a training that was stopped, to the same bits; see `resume`."""
    with going_on(run, TRAIN, progress) as sitting:
        return _train(sitting)


def _command(only: str | None) -> str:
    return "audit" if only is None else f"attack {only}"


def _audit(sitting: Sitting, only: str | None) -> AuditResult:
    evidence = gather(sitting.setting, families=FAMILIES if only is None else (only,))
    _save_models(evidence, sitting)
    try:
        report = _write(sitting, evidence)
    except KeyboardInterrupt:
        # Deciding the rankings takes longest; the page says that they are missing.
        evidence.rankings.clear()
        evidence.stopped = "the scoring of membership inference"
        report = _write(sitting, evidence)
    if not evidence.stopped:
        sitting.folder.finish()
    return AuditResult(
        folder=sitting.folder.place,
        report=report,
        interrupted=bool(evidence.stopped),
    )


def _train(sitting: Sitting) -> Trained:
    evidence = gather(sitting.setting, families=())
    _save_models(evidence, sitting)
    rows = tables.utility(evidence, sitting.setting.config)
    if not evidence.stopped:
        sitting.folder.finish()
    return Trained(
        folder=sitting.folder.place,
        utility=rows,
        how=tables.how_trained(evidence, sitting.setting.config),
        interrupted=bool(evidence.stopped),
    )


def describe(config: Config) -> Iterator[str]:
    """Say what an audit would do, having checked all that can be checked."""
    ready = prepare(config)
    raw, federation = ready.raw, config.federation
    training, (trials, _) = config.training, effort(config)
    yield f"data: {raw.provenance}, {len(raw)} records, {raw.classes} classes"
    yield f"plan: {promise(config)}"
    yield (
        f"training: {config.repeats} seeds x {len(ready.protections)} protections x "
        f"{training.rounds} rounds on {federation.clients} clients, "
        f"{federation.cohort} expected in a round"
    )
    yield f"protections: {', '.join(one.name for one in ready.protections)}"
    for refusal in ready.refused:
        yield f"refused: {refusal.protection}: {refusal.why}"
    yield (
        f"attacks: {config.attacks.shadows} shadow models, {trials} victims per "
        f"worst-case view, batches {list(config.attacks.batches)}, "
        f"{config.attacks.canaries} canaries"
    )
    for why in ready.workload.said(ready.protections):
        yield f"left out: {why}"


def read_report(folder: Path) -> Report:
    """Read a finished run's report back, checked against the schema.

    Raises:
        UserError: there is no report, or it is not one of ours.
    """
    path = folder / REPORT
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); give the folder of a finished "
            "run, such as runs/latest."
        ) from error
    except ValidationError as error:
        raise UserError(
            f"{path} is not a report of this version ({error.error_count()} fields are "
            "wrong); run the audit again."
        ) from error


def _write(sitting: Sitting, evidence: Evidence) -> Report:
    setting = sitting.setting
    raw, config, protections = setting.raw, setting.config, setting.protections
    findings = evidence.findings(protections)
    leakage = decide(findings, seed=config.seed)
    described = tables.federation(raw, evidence, config)
    utility = tables.utility(evidence, config)
    cost = tables.cost(evidence)
    baselines = tables.baselines(evidence, config)
    privacy = guarantees.bounds(protections, evidence, config)
    drill = guarantees.drills(evidence.drill)
    alike = validity(evidence, config)
    report = Report(
        schema="blindsum.report/1",
        answer=_stopped(
            answer(described, utility, leakage, cost, baselines, privacy), evidence
        ),
        federation=described,
        utility=utility,
        privacy=privacy,
        leakage=leakage,
        crowd=crowd.rows(config.federation, leakage),
        cost=cost,
        baselines=baselines,
        ledger=guarantees.ledger(protections, evidence, config),
        statements=guarantees.statements(protections, evidence, config),
        drill=drill,
        refused=sitting.ready.refused,
        validity=alike,
        exposure=exposure.rows(evidence, config),
        gates=gates(evidence, leakage, privacy, drill, alike),
        not_covered=not_covered(evidence, config),
        manifest=manifest(
            config, raw, started=sitting.begun.started, seconds=sitting.seconds
        ),
    )
    write(
        report,
        folder=setting.folder.draft,
        galleries=galleries(evidence.outcomes),
        curves=curves(evidence, findings, leakage, privacy, config),
        claims=[
            Claim(protection=one.name, proven=(one.proves,), assumes=())
            for one in protections
        ],
        exposed="" if raw.builtin else exposure.most_exposed(evidence),
        private=not raw.builtin,
    )
    return report


def _stopped(
    sentences: tuple[str, str, str], evidence: Evidence
) -> tuple[str, str, str]:
    """Say first of all that a run was cut short."""
    if not evidence.stopped:
        return sentences
    seeds = len(evidence.repeats)
    first = (
        f"STOPPED by Ctrl-C during {evidence.stopped}, with {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'} trained: what follows is incomplete."
    )
    return (f"{first} {sentences[0]}", *sentences[1:])


def _save_models(evidence: Evidence, sitting: Sitting) -> None:
    mode = PUBLIC if sitting.ready.builtin else OWNER_ONLY
    for repeat in evidence.repeats:
        for name, record in repeat.runs.items():
            path = sitting.folder.draft / f"model-{name}-seed{repeat.seed}.npz"
            np.savez(path, parameters=record.final)
            path.chmod(mode)
