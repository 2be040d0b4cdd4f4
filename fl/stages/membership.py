"""Stage three: who was a member, from every model that somebody gets to see."""

from __future__ import annotations

from fl import membership
from fl.evidence import Evidence
from fl.finding import Missing
from fl.membership import Shadows
from fl.protection import Protection
from fl.seeds import seed_for
from fl.shadows import FederatedTrainer
from fl.shelf import Piece
from fl.stages.setting import Setting
from fl.workload import workload


def run(setting: Setting, evidence: Evidence) -> None:
    """Train shadow models under each kind of noise, then attack every protection."""
    shadows: dict[str | None, Shadows | Missing] = {}
    for protection in setting.protections:
        kind = _kind(protection)
        if kind not in shadows:
            shadows[kind] = found = _shadows(setting, evidence, protection)
            if isinstance(found, Shadows):
                evidence.shadows[protection.name] = found
    task = setting.progress.task("membership inference", len(setting.protections))
    for protection in setting.protections:
        runs = [
            (repeat.runs[protection.name], repeat.federations[protection.name])
            for repeat in evidence.repeats
        ]
        evidence.rankings += membership.findings(
            runs, protection, shadows[_kind(protection)], setting.config
        )
        task.advance()


def _shadows(
    setting: Setting, evidence: Evidence, protection: Protection
) -> Shadows | Missing:
    """Train shadows like the model that ``protection`` releases, or take kept ones."""
    config, shelf = setting.config, setting.shelf
    federation = evidence.repeats[0].federations[protection.name]
    why = workload(federation, config).shadows(protection)
    if why:
        return Missing(metric="AUC", why=why)
    name = f"shadow-logits-{_kind(protection) or 'without-noise'}"
    kept = None if shelf is None else shelf.get(name)
    if kept is not None:
        return Shadows(
            logits=kept.arrays["logits"],
            labels=federation.dataset.labels,
            members=kept.arrays["members"],
            seconds=kept.fields["seconds"],
        )
    kind = f" with noise per {protection.unit}" if protection.unit else ""
    task = setting.progress.task(f"shadow models{kind}", config.attacks.shadows)
    found = membership.train_shadows(
        FederatedTrainer(federation, protection, config, task),
        federation,
        config,
        seed=seed_for(config.seed, "shadows"),
    )
    if shelf is not None and isinstance(found, Shadows):
        arrays = {"logits": found.logits, "members": found.members}
        shelf.put(name, Piece(fields={"seconds": found.seconds}, arrays=arrays))
    return found


def _kind(protection: Protection) -> str | None:
    """Return what sort of noise there is: protections of one sort share shadows."""
    return "local" if protection.local is not None else protection.unit
