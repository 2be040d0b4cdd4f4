"""Trainers of shadow models that are not federated: `attacks.Trainer` filled twice.

    StackedTrainer    plain networks on rows of one table, many as one stack
    EachAlone         anybody's own trainer, each model as a piece of work of its own

Both share the work over processes (`fl.parallel.each`), and neither's result depends on
how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks import Trainer
from fl.local import Member, Recipe, predict_logits, train_stacked
from fl.models import load_vector, to_vector
from fl.parallel import each
from fl.seeds import seed_for

# Models trained as one stack. Fixed: the bits may depend on it, never on the machine.
TOGETHER = 64

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedTrainer:
    """Trains plain networks, many at once, on overlapping rows of one table.

    Guarantee: each model is what a plain loop makes of its records alone, up to
    float32 sums in another order.

    Attributes:
        build: makes a network; its argument is the seed of the first weights.
        x: (N, *input_shape) float32.
        y: (N,) int64.
        recipe: passes, batches, optimiser.
    """

    build: Callable[[int], nn.Module]
    x: Tensor
    y: Tensor
    recipe: Recipe

    def train(self, members: Bits, *, seed: int) -> NDArray[np.float32]:
        """Return the trained parameters of one model per row, (S, parameters).

        Args:
            members: (S, N); which records train which model, one or more each.
            seed: everything random in the models follows from it.

        Raises:
            ModelError: the training of a model diverged (caller).
        """
        return self._train(members, 0, seed)

    def logits(self, members: Bits, *, seed: int) -> NDArray[np.float32]:
        """Train as `train` does; return the logits on all records, (S, N, classes)."""
        starts = range(0, len(members), TOGETHER)
        pieces = ((members[at : at + TOGETHER], at) for at in starts)
        work = partial(_asked, self, seed)
        return np.concatenate(list(each(work, pieces, count=len(starts))))

    def seed(self, number: int, seed: int) -> int:
        """Return the seed of the first weights of model ``number``."""
        return seed_for(seed, "model", number)

    def key(self, number: int, seed: int) -> int:
        """Return the key of the order in which model ``number`` sees its records."""
        return seed_for(seed, "batches", number)

    def _train(self, members: Bits, offset: int, seed: int) -> NDArray[np.float32]:
        """Train models of which the first has the number ``offset``."""
        numbers = range(offset, offset + len(members))
        nets = (self.build(self.seed(number, seed)) for number in numbers)
        starts = np.stack([to_vector(net) for net in nets])
        stack = [
            Member(
                self.x,
                self.y,
                self.key(number, seed),
                start=place,
                rows=torch.from_numpy(np.flatnonzero(row)),
            )
            for place, (number, row) in enumerate(zip(numbers, members, strict=True))
        ]
        starts += train_stacked(self.build(0), stack, self.recipe, starts=starts)
        return starts


def _asked(
    trainer: StackedTrainer, seed: int, piece: tuple[Bits, int]
) -> NDArray[np.float32]:
    finals, model = trainer._train(*piece, seed), trainer.build(0)
    logits = []
    for final in finals:
        load_vector(model, final)
        logits.append(predict_logits(model, trainer.x))
    return np.stack(logits)


@dataclass(frozen=True, slots=True)
class EachAlone:
    """Trains each model of somebody's own trainer by itself, in any process.

    Attributes:
        trainer: handed one row of members at a time, and a seed of that row's own. It
            is copied to other processes, or shared between threads where the caller's
            joblib backend has threads; those must then be safe for it.
    """

    trainer: Trainer

    def logits(self, members: Bits, *, seed: int) -> NDArray[np.float32]:
        """Train one model per row; return their logits, (S, N, classes) float32.

        Args:
            members: (S, N) bool.
            seed: model s gets ``seed_for(seed, s)``.
        """
        pieces = [(row[None], seed_for(seed, at)) for at, row in enumerate(members)]
        work = partial(_one, self.trainer)
        return np.concatenate(list(each(work, pieces, count=len(pieces), threads=True)))


def _one(trainer: Trainer, piece: tuple[Bits, int]) -> NDArray[np.float32]:
    row, seed = piece
    return trainer.logits(row, seed=seed)
