"""Models that train on rows of one table train as on copies of their records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dp.sgd import DpSgd
from fl.errors import ModelError
from fl.local import Member, PrivateRecipe, Recipe, Rule, train_private, train_stacked
from tests.fl.local.some import Pure, dropping, members, model_of

RULE = Rule(learning_rate=0.1)
ROWS = ([1, 4, 7, 9, 2], [0, 1, 2], [9, 8, 4, 4, 3, 0], [5])

MAKES: dict[str, Callable[[], nn.Module]] = {
    "by hand": lambda: model_of("mlp")[0],
    "images": lambda: model_of("cnn")[0],
    "vmap": Pure,
    "loop": lambda: dropping(0.5),
}


def both(make: str) -> tuple[list[Member], list[Member]]:
    """Return clients that share a table of ten records, and the same with copies."""
    (table,) = members([10], (2, 8, 8) if make == "images" else (6,))
    rows = [torch.tensor(some) for some in ROWS]
    shared = [table._replace(key=key, rows=own) for key, own in enumerate(rows)]
    copied = [Member(table.x[own], table.y[own], key) for key, own in enumerate(rows)]
    return shared, copied


@pytest.mark.parametrize("make", MAKES)
def test_training_is_that_on_copies_bit_for_bit(make: str) -> None:
    model, (shared, copied) = MAKES[make](), both(make)
    recipe = Recipe(epochs=2, batch_size=4, rule=RULE)
    found = train_stacked(model, shared, recipe)
    np.testing.assert_array_equal(found, train_stacked(model, copied, recipe))
    others = [one._replace(rows=shared[0].rows) for one in shared]
    moved = np.abs(found - train_stacked(model, others, recipe)).max(axis=1)
    assert moved[1:].min() > 1e-3


@pytest.mark.parametrize("make", MAKES)
def test_private_training_is_that_on_copies_bit_for_bit(make: str) -> None:
    model, (shared, copied) = MAKES[make](), both(make)
    mechanism = DpSgd(
        sampling_rate=0.5, batch_size=3.0, clip_norm_l2=0.5, noise_multiplier=1.0
    )
    recipe = PrivateRecipe(steps=3, mechanism=mechanism, rule=RULE)
    seeds = [b"%d" % place for place in range(len(shared))]
    found = train_private(model, shared, recipe, noise_seeds=seeds)
    wanted = train_private(model, copied, recipe, noise_seeds=seeds)
    np.testing.assert_array_equal(found, wanted)


def test_members_of_several_tables_are_refused() -> None:
    shared, copied = both("by hand")
    recipe = Recipe(epochs=1, batch_size=4, rule=RULE)
    equal = shared[1]._replace(x=shared[1].x.clone())
    for other in (copied[1], equal):
        with pytest.raises(ModelError, match="must all share that very table"):
            train_stacked(model_of("mlp")[0], [shared[0], other], recipe)
