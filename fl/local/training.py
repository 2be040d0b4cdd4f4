"""Local training: what every client of a round does with its own records.

The one training loop. A step gathers each moving client's batch, takes the slopes of
its loss from the engine that fits the model, and moves along them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.errors import ModelError
from fl.local.autodiff import lent
from fl.local.batches import draw, steps_of
from fl.local.engine import Engine, Slopes, engine_for, saved_bytes, slopes_of
from fl.local.members import Member
from fl.local.optimiser import Term, optimiser_for
from fl.local.recipe import Recipe
from fl.local.stack import BYTES, Stack, train_in_chunks
from fl.local.terms import ControlVariates, Proximal
from fl.models import parameter_count, to_vector

CPU = torch.device("cpu")


def train_stacked(
    model: nn.Module,
    members: Sequence[Member],
    recipe: Recipe,
    *,
    starts: NDArray[np.float32] | None = None,
    control_variates: NDArray[np.float32] | None = None,
    device: torch.device = CPU,
    limit: int = BYTES,
) -> NDArray[np.float32]:
    """Return the change that each client makes to the model that it starts from.

    Guarantee: each row is what plain training of that client alone gives, up to
    float32 sums in another order (1e-5 per coordinate in training that does not
    amplify them). Equal arguments give equal bits on the same kind of machine,
    whatever its number of cores. All rows are finite. The model, torch's global
    generator and its number of threads are left as they were.

    Args:
        model: says the shape of the computation.
        members: see `Member`; each has at least one record.
        recipe: passes, batches, optimiser.
        starts: (models, parameters) float32 for members' ``start``; None for the
            model's own parameters.
        control_variates: (clients, parameters) float32 added to every gradient of its
            client (SCAFFOLD's c - c_i), or None.
        device: that a stack's arithmetic runs on; clients alone stay on the CPU.
        limit: bytes that a chunk of clients may take, by estimate; changes a result by
            float32 rounding at most.

    Returns:
        (clients, parameters) float32, contiguous: trained less released parameters.

    Raises:
        ModelError: the training of a client diverged.
    """
    if not members:
        return np.empty((0, parameter_count(model)), dtype=np.float32)
    engine = engine_of(model, members, recipe.batch_size)
    slopes, alone = slopes_of(model, engine), engine.name == "loop"
    kept = 0 if alone else saved_bytes(model, tuple(members[0].x.shape[1:]))

    def work(stack: Stack) -> None:
        if alone:
            # Dropout draws from it. (torch.manual_seed also visits every device.)
            torch.default_generator.manual_seed(stack.members[0].key)
        _descend(stack, slopes, recipe, _terms(stack, recipe, control_variates))

    with in_training(model, alone=alone):
        changes = train_in_chunks(
            model,
            members,
            to_vector(model)[None] if starts is None else starts,
            work,
            images=engine.images,
            bytes_each=lambda member: bytes_of(model, member, recipe, kept),
            limit=limit,
            alone=alone,
            device=CPU if alone else device,
        )
    # A sum is quicker, and finite only if all of it is; it may itself overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        total = changes.sum()
    if not np.isfinite(total) and not np.isfinite(changes).all():
        raise diverged(recipe.rule.learning_rate)
    return changes


def _descend(
    stack: Stack, slopes: Slopes, recipe: Recipe, terms: Sequence[Term]
) -> None:
    """Take every step of a chunk, in place."""
    batches = draw(
        [member.records for member in stack.members],
        [member.key for member in stack.members],
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
    )
    optimiser = optimiser_for(recipe.rule, stack.parameters, terms)
    device = stack.x.device
    for step in range(batches.steps):
        batch = batches.at(step)
        moving, _ = batch.shape
        rows = batch.rows.to(device)
        parameters = [one[:moving] for one in stack.parameters]
        found = slopes(
            parameters,
            *stack.gathered(rows, batch.shape),
            batch.weights.to(device),
        )
        optimiser.step(parameters, found)
        del found  # its memory is still in the cache, and the next batch takes it


def engine_of(model: nn.Module, members: Sequence[Member], batch_size: int) -> Engine:
    """Return how these members are stacked."""
    return engine_for(
        model,
        tuple(members[0].x.shape[1:]),
        batch_size=min(batch_size, max(member.records for member in members)),
    )


def _terms(
    stack: Stack, recipe: Recipe, control_variates: NDArray[np.float32] | None
) -> list[Term]:
    terms: list[Term] = []
    if recipe.proximal:
        terms.append(Proximal(stack.released, recipe.proximal))
    if control_variates is not None:
        own = torch.from_numpy(control_variates[stack.places]).to(stack.x.device)
        terms.append(ControlVariates(stack.layout.arranged(own)))
    return terms


@contextmanager
def in_training(model: nn.Module, *, alone: bool) -> Iterator[None]:
    """Put the model in training mode; put it back after.

    Where clients train ``alone``, its parameters and torch's generator serve them all,
    and are put back too.
    """
    was_training = model.training
    model.train()
    try:
        if not alone:
            yield
            return
        with lent(model), torch.random.fork_rng(devices=[]):
            yield
    finally:
        model.train(was_training)


def diverged(learning_rate: float) -> ModelError:
    """Return the error of a training whose change is not finite."""
    return ModelError(
        f"local training diverged at a learning rate of {learning_rate:g}; lower it "
        "(training.learning_rate)."
    )


def bytes_of(model: nn.Module, member: Member, recipe: Recipe, kept: int) -> int:
    """Estimate what one client of a stack takes: data, plan, activations, parameters.

    Args:
        model: says the number of parameters.
        member: whose records count.
        recipe: the steps.
        kept: bytes that the backward pass of one record keeps.
    """
    width = min(recipe.batch_size, member.records)
    plan = 8 * width * steps_of(member.records, recipe.epochs, recipe.batch_size)
    state = {"sgd": 2 + (recipe.rule.momentum > 0), "adam": 5}[recipe.rule.optimizer]
    return (
        member.record_bytes
        + plan
        + 2 * width * kept
        + 4 * state * parameter_count(model)
    )
