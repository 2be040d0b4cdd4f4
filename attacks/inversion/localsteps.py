"""Match the update of several local steps by repeating all of them on guesses.

Dimitrov et al., TMLR 2022, arXiv 2206.12395: simulate the client's steps, guess the
records of each epoch anew, and tie the epochs together by what does not depend on the
order within them. Theirs compares means of features; here the sorted values of every
entry are compared, which are all that is left of a set of numbers without its order.
Where a step holds the whole epoch there is no order, and one set of records serves all.

Labels are known, or counted (as if the steps were one, or better by a `LocalCounts`
that repeats the training on other records); the batches that they belong to are guessed
anew at each starting point, and the objective chooses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from attacks.errors import LabelsUnavailable, ParameterError
from attacks.inversion.attack import Certificate, Reconstruction
from attacks.inversion.distance import of_each, one_minus_cosine, units_of
from attacks.inversion.labels import estimate_labels
from attacks.inversion.localcounts import LocalCounts
from attacks.inversion.matching import Group, Objective, Recipe, match
from attacks.inversion.prior import is_image, total_variation
from attacks.inversion.search import Search
from attacks.inversion.unroll import LocalSGD, unrolled
from attacks.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSteps:
    """Match the direction of an update of several local steps, unrolled.

    Guarantee: deterministic for a seed. The client's optimiser is plain SGD with full
    batches; unknown momentum is taken for none, unknown epochs for one.

    Args:
        iterations: steps of the search per restart.
        restarts: starting points, searched side by side; each has its own order of
            labels where that is unknown.
        step: step size in units of the value range (of 1 if that is unknown).
        smoothness: weight of the total variation; images only.
        tie: weight of what epochs must have in common.
        halvings: see `Search`.
        counter: counts the labels of an epoch, where they are unknown; None to count
            them as if the steps were one.
    """

    name: ClassVar[str] = "local steps"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"gradient", "batch_size", "steps", "lr"}
    )
    uses: ClassVar[frozenset[str]] = frozenset(
        {"labels", "value_range", "known", "momentum", "epochs"}
    )
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3
    tie: float = 0.1
    halvings: tuple[float, ...] = (0.05, 0.1, 0.2)
    counter: LocalCounts | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._recipe()
        if not (self.smoothness >= 0 and self.tie >= 0):
            raise ParameterError("smoothness and tie must not be negative.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one epoch.

        Returns:
            All records of an epoch, uncertified; refused if the update sums several
            clients, epochs are not of whole steps, no labels can be had, or no restart
            stayed finite.

        Raises:
            MissingKnowledge: a needed field is unknown.
        """
        return self.run_many([observation], seeds=[seed])[0]

    def run_many(
        self, observations: Sequence[Observation], *, seeds: Sequence[int]
    ) -> list[Reconstruction]:
        """Attack several observations; those of one model and size in one batch.

        Guarantee: as of `CosineTV.run_many`.

        Raises:
            MissingKnowledge: a needed field is unknown.
        """
        return match(self._recipe(), observations, seeds)

    def _recipe(self) -> Recipe:
        return Recipe(
            name=self.name,
            needs=self.needs,
            uses=self.uses,
            restarts=self.restarts,
            settings=Search(
                iterations=self.iterations, step=self.step, halvings=self.halvings
            ),
            objective=self._objective,
            labels=self._count,
            carry=_ordered,
            records=_guessed,
            finish=_merged,
            why_not=_why_not,
        )

    def _count(self, seen: Observation, seed: int) -> Tensor:
        """Return the labels of an epoch, rising."""
        if self.counter is None:
            as_one = replace(seen, batch_size=_of_an_epoch(seen), steps=1, epochs=1)
            return estimate_labels(as_one, seed=seed)
        found = self.counter.run(replace(seen, epochs=seen.epochs or 1), seed=seed)
        if found.certificate is Certificate.REFUSED:
            raise LabelsUnavailable(found.reason)
        return torch.repeat_interleave(torch.arange(seen.classes), found.counts)

    def _objective(self, group: Group) -> Objective:
        seen = group.seen
        training = LocalSGD(
            steps=seen.steps or 1, lr=seen.lr or 1.0, momentum=seen.momentum or 0.0
        )
        update = unrolled(group.replay, training)
        copies = training.steps * (seen.records or 1) // _guessed(seen)

        def all_steps(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            inputs, labels = (torch.cat([each] * copies) for each in (inputs, labels))
            return update(inputs, labels)

        distance = of_each(
            all_steps,
            group.replay,
            units_of(group.targets),
            group.labels,
            seen.known,
            one_minus_cosine,
        )
        low, high = seen.value_range or (0.0, 1.0)
        smooth = is_image(seen.input_shape) and self.smoothness > 0
        epochs = _guessed(seen) // _of_an_epoch(seen)

        def objective(guesses: Tensor, carried: Tensor | None = None) -> Tensor:
            value = distance(guesses, None if carried is None else carried.detach())
            scaled = guesses / (high - low)
            if smooth:
                value = value + self.smoothness * total_variation(scaled, batch_axes=2)
            if epochs > 1 and self.tie > 0:
                value = value + self.tie * epochs_apart(scaled, epochs)
            return value

        return objective


def epochs_apart(guesses: Tensor, epochs: int) -> Tensor:
    """Return how far the records of epochs are from being the same in another order.

    Zero if they are; unchanged by any order within an epoch.

    Args:
        guesses: (K, R, epochs * N, *shape).
        epochs: at least two.

    Returns:
        (K, R), the mean over pairs of epochs and over entries of the squared gaps
        between sorted values.
    """
    ordered = torch.stack(guesses.chunk(epochs, dim=2), dim=2).sort(dim=3).values
    within = tuple(range(2, guesses.dim()))
    gaps = [
        (ordered[:, :, one] - ordered[:, :, other]).square().mean(dim=within)
        for one, other in combinations(range(epochs), 2)
    ]
    return torch.stack(gaps).mean(dim=0)


def _of_an_epoch(seen: Observation) -> int:
    return (seen.records or 1) * (seen.steps or 1) // (seen.epochs or 1)


def _guessed(seen: Observation) -> int:
    """Return how many records are guessed: of all epochs, if there is an order."""
    one_step = seen.steps == (seen.epochs or 1)
    return (seen.records or 1) * (1 if one_step else seen.steps or 1)


def _why_not(seen: Observation) -> str | None:
    if seen.clients_summed > 1:
        return (
            "The update sums several clients, each of whom took steps of its own; "
            "match it as one step."
        )
    if (seen.steps or 1) % (seen.epochs or 1):
        return f"{seen.steps} steps do not make {seen.epochs} epochs of whole steps."
    if seen.labels is not None and len(seen.labels) != _of_an_epoch(seen):
        return (
            f"{len(seen.labels)} labels are not those of the {_of_an_epoch(seen)} "
            "records of an epoch; give epochs and all of them, or none."
        )
    return None


def _ordered(
    seen: Observation, labels: Tensor, restarts: int, generator: torch.Generator
) -> Tensor:
    """Spread the labels of an epoch over the guessed steps, one order per restart."""
    size, guessed = _of_an_epoch(seen), _guessed(seen)
    fixed = seen.labels is not None
    rows = []
    for _ in range(restarts):
        parts = [
            labels
            if (guessed == size and fixed) or (fixed and epoch == 0)
            else labels[torch.randperm(size, generator=generator)]
            for epoch in range(guessed // size)
        ]
        rows.append(functional.one_hot(torch.cat(parts), seen.classes))
    return torch.stack(rows)


def _merged(seen: Observation, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Average the epochs, each brought into the order of the first."""
    size = _of_an_epoch(seen)
    first, *others = inputs.chunk(len(inputs) // size)
    total = first.clone()
    classes = labels[:size]
    for other, own in zip(others, labels.chunk(len(labels) // size)[1:], strict=True):
        gaps = torch.cdist(
            first.flatten(1).double(), other.flatten(1).double()
        ).square()
        unlike = classes[:, None] != own[None]
        cost = gaps + unlike * (1 + gaps.max())  # never a match across classes
        _, places = linear_sum_assignment(cost.cpu().numpy())
        total = total + other[torch.as_tensor(places, device=other.device)]
    return total / (1 + len(others)), classes
