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
        objective: from a group to what is minimised.
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
    objective: Callable[[Group], Callable[[Tensor], Tensor]]
    start: Draw = draw_guesses
    labels: Callable[[Observation, int], Tensor] = lambda seen, seed: estimate_labels(
        seen, seed=seed
    )
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
        found = _attack(recipe, [trial for _, trial in group])
        seconds = (time.perf_counter() - began) / len(group)
        began = time.perf_counter()
        for row, (place, trial) in enumerate(group):
            reached = float(found.objective[row])
            answers[place] = (
                candidates(
                    trial.seen, found.inputs[row], trial.labels, reached, seconds
                )
                if math.isfinite(reached)
                else refused(trial.seen, DID_NOT_FINISH, seconds)
            )
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


def _attack(recipe: Recipe, trials: Sequence[_Trial]) -> Found:
    first = trials[0]
    seen, anchor = first.seen, next(first.seen.model.parameters())
    shape = (seen.records or 1, *seen.input_shape)
    starts = [
        recipe.start(
            recipe.restarts,
            shape,
            seen.value_range,
            torch.Generator().manual_seed(trial.seed),
        )
        for trial in trials
    ]
    labels = functional.one_hot(
        torch.stack([trial.labels for trial in trials]), seen.classes
    ).to(anchor.dtype)
    targets = {
        name: torch.stack([trial.target[name] for trial in trials])
        for name in first.target
    }
    replay = replay_of(seen.model, first.target)
    every = [trial.seen for trial in trials]
    objective = recipe.objective(Group(seen, every, replay, targets, labels))
    start = torch.stack(starts).to(anchor.device, anchor.dtype)
    return search(objective, start, seen.value_range, recipe.settings)


def _kind(trial: _Trial) -> bytes:
    """Return what trials must have in common to be attacked in one batch."""
    seen = trial.seen
    known = hashlib.sha256()
    sizes = (
        *(seen.records, seen.input_shape, seen.classes, seen.value_range),
        sorted(seen.batch_statistics or ()),
    )
    modes = [part.training for part in seen.model.modules()]
    known.update(repr((sizes, modes, repr(seen.model), list(trial.target))).encode())
    for name, value in (*seen.model.state_dict().items(), *(seen.known or {}).items()):
        known.update(name.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        known.update(flat.view(torch.uint8).numpy())
    return known.digest()
