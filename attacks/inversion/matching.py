"""What attacks that match gradients share: who is attacked together, and the answers.

Several observations of one model and size are attacked in one flat batch, each with its
own restarts. An attack hands over a `Recipe`: where it starts, how it searches, what it
minimises. The truth is nowhere; among restarts the objective chooses.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from attacks.errors import LabelsUnavailable, ParameterError
from attacks.inversion.answers import DID_NOT_FINISH, NOT_FINITE, candidates
from attacks.inversion.attack import Reconstruction, refused
from attacks.inversion.distance import as_target, is_matchable
from attacks.inversion.labels import estimate_labels
from attacks.inversion.prior import draw_guesses
from attacks.inversion.replay import Replay, replay_of
from attacks.inversion.search import Found, Search, search
from attacks.observation import Observation, require


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Observations of one model and size that are attacked together.

    Attributes:
        seen: the first; what the others share with it may be read from it.
        every: all K of them.
        replay: the attacker's copy of their model.
        targets: by parameter name, (K, *shape of the parameter).
        labels: (K, B, classes) probabilities.
    """

    seen: Observation
    every: Sequence[Observation]
    replay: Replay
    targets: dict[str, Tensor]
    labels: Tensor


def counted_labels(seen: Observation, seed: int) -> Tensor:
    """Return the labels of a step as the bias gradient counts them."""
    return estimate_labels(seen, seed=seed)


class Objective(Protocol):
    """From guesses (K, R, B, *shape), and what they carry, to (K, R)."""

    def __call__(self, guesses: Tensor, carried: Tensor | None = None) -> Tensor:
        """Return what is minimised."""
        ...


Carry = Callable[[Observation, Tensor, int, torch.Generator], Tensor]
"""From labels (B,) of an observation and a number of restarts to (R, B, classes)."""

Draw = Callable[
    [int, tuple[int, ...], tuple[float, float] | None, torch.Generator], Tensor
]
"""Starting points, as `draw_guesses`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one attack matches gradients.

    Args:
        name: of the attack.
        needs: fields that must be known.
        uses: fields that are read when known.
        restarts: starting points, >= 1, searched side by side.
        settings: of the search.
        objective: from a group to what is minimised, a function of guesses (K, R, B,
            *shape) and of what they carry.
        carry: what guesses carry along, (R, B, classes) for the labels of one
            observation; the labels that come out are its largest entries. It moves
            only where the objective has a slope in it. None if nothing.
        records: how many records are guessed.
        judge: from a group to what decides between guesses, where the objective differs
            from one iteration to the next; None for the objective.
        finish: last changes to the records found and their labels.
        start: where guesses begin.
        labels: the classes to match with, where the observation does not hold them.
        why_not: a reason to refuse an observation, or None.

    Raises:
        ParameterError: no restart (caller).
    """

    name: str
    needs: frozenset[str]
    uses: frozenset[str]
    restarts: int
    settings: Search
    objective: Callable[[Group], Objective]
    start: Draw = draw_guesses
    carry: Carry | None = None
    records: Callable[[Observation], int] = lambda seen: seen.records or 1
    judge: Callable[[Group], Objective] | None = None
    finish: Callable[[Observation, Tensor, Tensor], tuple[Tensor, Tensor]] = (
        lambda seen, inputs, labels: (inputs, labels)
    )
    labels: Callable[[Observation, int], Tensor] = counted_labels
    why_not: Callable[[Observation], str | None] = lambda seen: None

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ParameterError(f"restarts={self.restarts} must be at least 1.")


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One observation that can be attacked."""

    seen: Observation
    target: dict[str, Tensor]
    labels: Tensor
    seed: int


def match(
    recipe: Recipe, observations: Sequence[Observation], seeds: Sequence[int]
) -> list[Reconstruction]:
    """Attack several observations; those of one model and size in one batch.

    Guarantee: each answer is what the observation gives alone, up to rounding;
    `seconds` of those that were attacked together are their shares.

    Raises:
        MissingKnowledge: a needed field is unknown.
    """
    began = time.perf_counter()
    answers: dict[int, Reconstruction] = {}
    groups: dict[bytes, list[tuple[int, _Trial]]] = {}
    for place, (one, seed) in enumerate(zip(observations, seeds, strict=True)):
        trial = _prepare(recipe, one, seed)
        if isinstance(trial, Reconstruction):
            answers[place] = trial
        else:
            groups.setdefault(_kind(trial), []).append((place, trial))
    for group in groups.values():
        found, labels = _attack(recipe, [trial for _, trial in group])
        seconds = (time.perf_counter() - began) / len(group)
        began = time.perf_counter()
        for row, (place, trial) in enumerate(group):
            reached = float(found.objective[row])
            if not math.isfinite(reached):
                answers[place] = refused(trial.seen, DID_NOT_FINISH, seconds)
                continue
            ended = recipe.finish(trial.seen, found.inputs[row], labels[row])
            answers[place] = candidates(trial.seen, *ended, reached, seconds)
    return [answers[place] for place in range(len(observations))]


def _prepare(
    recipe: Recipe, observation: Observation, seed: int
) -> _Trial | Reconstruction:
    began = time.perf_counter()
    seen = require(observation, recipe.needs, uses=recipe.uses, attack=recipe.name)
    target = as_target(seen)
    why_not = recipe.why_not(seen)
    if why_not is None and not is_matchable(target):
        why_not = NOT_FINITE
    if why_not is not None:
        return refused(seen, why_not, time.perf_counter() - began)
    labels = seen.labels
    if labels is None:
        try:
            labels = recipe.labels(seen, seed)
        except LabelsUnavailable as error:
            return refused(seen, str(error), time.perf_counter() - began)
    labels = labels.to(next(seen.model.parameters()).device)
    return _Trial(seen, target, labels, seed)


def _attack(recipe: Recipe, trials: Sequence[_Trial]) -> tuple[Found, Tensor]:
    """Return the best guess at each target, and its labels (K, B)."""
    first = trials[0]
    seen, anchor = first.seen, next(first.seen.model.parameters())
    shape = (recipe.records(seen), *seen.input_shape)
    starts, loads = [], []
    for trial in trials:
        draw = torch.Generator().manual_seed(trial.seed)
        starts.append(recipe.start(recipe.restarts, shape, seen.value_range, draw))
        if recipe.carry is not None:
            labels = trial.labels.cpu()
            loads.append(recipe.carry(trial.seen, labels, recipe.restarts, draw))
    classes = torch.stack([trial.labels for trial in trials])
    labels = functional.one_hot(classes, seen.classes).to(anchor.dtype)
    targets = {
        name: torch.stack([trial.target[name] for trial in trials])
        for name in first.target
    }
    replay = replay_of(seen.model, first.target)
    every = [trial.seen for trial in trials]
    group = Group(seen, every, replay, targets, labels)
    objective = recipe.objective(group)
    judge = None if recipe.judge is None else recipe.judge(group)
    start = torch.stack(starts).to(anchor.device, anchor.dtype)
    if not loads:
        found = search(objective, start, seen.value_range, recipe.settings, judge=judge)
        return found, classes

    def parts(packed: Tensor) -> tuple[Tensor, Tensor]:
        held, load = packed[..., : -seen.classes], packed[..., -seen.classes :]
        return held.reshape(*held.shape[:-1], *seen.input_shape), load

    load = torch.stack(loads).to(anchor.device, anchor.dtype)
    found = search(
        lambda packed: objective(*parts(packed)),
        torch.cat((start.flatten(3), load), dim=-1),
        seen.value_range,
        recipe.settings,
        loose=seen.classes,
        judge=None if judge is None else lambda packed: judge(*parts(packed)),
    )
    inputs, carried = parts(found.inputs)
    return Found(inputs, found.objective), carried.argmax(dim=-1)


def _kind(trial: _Trial) -> bytes:
    """Return what trials must have in common to be attacked in one batch."""
    seen = trial.seen
    known = hashlib.sha256()
    sizes = (
        *(seen.records, seen.input_shape, seen.classes, seen.value_range),
        *(seen.steps, seen.epochs, seen.lr, seen.momentum),
        sorted(seen.batch_statistics or ()),
    )
    modes = [part.training for part in seen.model.modules()]
    known.update(repr((sizes, modes, repr(seen.model), list(trial.target))).encode())
    for name, value in (*seen.model.state_dict().items(), *(seen.known or {}).items()):
        known.update(name.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        known.update(flat.view(torch.uint8).numpy())
    return known.digest()
