"""Attack one saved update, whose truth nobody here knows.

There is nothing to score: what is said is what came out, whether the attack itself
proves it, its own objective, and what may have stood in its way. What was recovered is
somebody's records, and goes to `private/`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from attacks import (
    ILRG,
    AttackError,
    Certificate,
    Finding,
    InversionAttack,
    Observation,
    Reconstruction,
    diagnose,
    load_observation,
    read_header,
)
from fl.attack_files import write_arrays, write_figures, write_images
from fl.config import Config
from fl.errors import UpdateError
from fl.folder import choose
from fl.models import architecture, check_output
from fl.writing import writing

SCHEMA = "blindsum.attacked-update/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one attack made of the update.

    Attributes:
        attack: its name.
        certificate: proven, candidate or refused, by the attack itself.
        reason: one sentence.
        records: how many came out, or were counted.
        objective: the attack's own, if it minimises one.
        seconds: spent.
    """

    attack: str
    certificate: Certificate
    reason: str
    records: int
    objective: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """An attacked update.

    Attributes:
        folder: of the files.
        findings: what may stand in the way of attacks.
        answers: one per attack, in their order.
    """

    folder: Path
    findings: tuple[Finding, ...]
    answers: tuple[Answer, ...]


def load(path: Path, config: Config) -> Observation:
    """Read a saved update into the configured model.

    Raises:
        UpdateError: the file is none, or does not fit the model.
        ModelError: the model cannot be made, or takes no such records.
    """
    try:
        header = read_header(path)
        model = architecture(config.model, header.input_shape, header.classes)
        observation = load_observation(path, model)
    except AttackError as error:
        raise UpdateError(str(error)) from error
    if observation.tokens is None:
        check_output(
            copy.deepcopy(observation.model).float(),
            f'model.kind = "{config.model.kind}"',
            observation.input_shape,
            observation.classes,
        )
    return observation


def attack_update(
    observation: Observation,
    attacks: Sequence[InversionAttack],
    config: Config,
    *,
    out: Path | None,
    force: bool,
) -> Attacked:
    """Diagnose an update, attack it, and write what came out.

    Raises:
        UserError: the folder cannot be written.
    """
    started = datetime.now(UTC)
    parent = Path(config.output.out)
    place = choose(out, parent, "update-attack", started, force=force)
    findings = diagnose(observation)
    with writing(place, link=False) as folder:
        answers = []
        for attack in attacks:
            answer, result = _attack(observation, attack, config.seed)
            answers.append(answer)
            if result is not None and len(result.inputs):
                _write(folder.draft, answer.attack, observation, result)
        answers.append(_count_labels(folder.draft, observation, config.seed))
        results = {
            "schema": SCHEMA,
            "view": observation.view,
            "findings": [
                {"trouble": one.trouble.value, "sentence": one.sentence}
                for one in findings
            ],
            "answers": [
                {
                    "attack": one.attack,
                    "certificate": one.certificate.value,
                    "reason": one.reason,
                    "records": one.records,
                    "objective": one.objective,
                    "seconds": round(one.seconds, 3),
                }
                for one in answers
            ],
        }
        write_figures(folder.draft, results, {"seed": config.seed})
    return Attacked(folder=place, findings=findings, answers=tuple(answers))


def _count_labels(folder: Path, observation: Observation, seed: int) -> Answer:
    """Count the classes in the update; the counts themselves go to `private/`."""
    try:
        found = ILRG().run(observation, seed=seed)
    except AttackError as error:
        return _refusal(ILRG.name, str(error))
    if found.certificate is not Certificate.REFUSED:
        arrays = {"counts": found.counts.numpy(), "expected": found.expected.numpy()}
        write_arrays(folder, "label-counts.npz", arrays, private=True)
    return Answer(
        attack=f"label counts ({ILRG.name})",
        certificate=found.certificate,
        reason=found.reason,
        records=int(found.counts.sum()),
        objective=None,
        seconds=found.seconds,
    )


def _refusal(attack: str, reason: str) -> Answer:
    return Answer(
        attack=attack,
        certificate=Certificate.REFUSED,
        reason=reason,
        records=0,
        objective=None,
        seconds=0.0,
    )


def _attack(
    observation: Observation, attack: InversionAttack, seed: int
) -> tuple[Answer, Reconstruction | None]:
    try:
        result = attack.run(observation, seed=seed)
    except AttackError as error:  # the observation lacks what this attack needs
        return _refusal(attack.name, str(error)), None
    return Answer(
        attack=attack.name,
        certificate=result.certificate,
        reason=result.reason,
        records=len(result.inputs),
        objective=result.objective,
        seconds=result.seconds,
    ), result


def _write(
    folder: Path, attack: str, observation: Observation, result: Reconstruction
) -> None:
    name = attack.lower().replace(" ", "-").replace("+", "-")
    arrays = {"inputs": result.inputs.detach().cpu().numpy()}
    if result.labels is not None:
        arrays["labels"] = result.labels.detach().cpu().numpy()
    write_arrays(folder, f"{name}.npz", arrays, private=True)
    shape = observation.input_shape
    if len(shape) == 3 and shape[0] in (1, 3):
        low, high = observation.value_range or (0.0, 1.0)
        shown = (result.inputs.detach().cpu() - low) / (high - low)
        write_images(folder, f"{name}.png", shown)
