"""DP-SGD for many clients at once: the same loop with clipped, noised gradients.

`dp.sgd.DpSgd` decides what a step releases; here the coins are tossed (see
`fl.local.units`), the gradients are computed on the stack, and the models move. A model
that cannot be stacked goes through Opacus' hooks, one client after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import dp
from dp.gradients import per_example
from dp.independence import check_independent
from dp.sgd import DpSgd, PerExampleGradients
from fl.errors import ModelError
from fl.local.autodiff import put
from fl.local.engine import Engine, engine_for, examples_of
from fl.local.examples import StackedExamples
from fl.local.members import Member
from fl.local.optimiser import optimiser_for
from fl.local.private_recipe import PrivateRecipe, bytes_of_a_client, bytes_of_a_record
from fl.local.slopes import Noised, Slope, Whole
from fl.local.stack import BYTES, Stack, train_in_chunks
from fl.local.training import CPU, in_training
from fl.local.units import Sample, sampler
from fl.models import parameter_count, to_vector

Gradients = Callable[
    [Sequence[Tensor], Tensor, Tensor, Tensor | None], PerExampleGradients
]


def train_private(
    model: nn.Module,
    members: Sequence[Member],
    recipe: PrivateRecipe,
    *,
    noise_seeds: Sequence[bytes | None],
    starts: NDArray[np.float32] | None = None,
    device: torch.device = CPU,
    limit: int = BYTES,
) -> NDArray[np.float32]:
    """Return the noisy change that each client makes to the model it starts from.

    Guarantee: for real-valued noise, a client's row (and all that is made of it) is
    ``recipe.mechanism.event`` composed ``recipe.steps`` times, for adding or removing
    one of its records (with ``recipe.most_records``: one of its subjects, with all of
    the subject's records), if model, recipe, starts, keys and noise seeds do not depend
    on the records. It tells nothing of another client's records. A step whose sample is
    empty adds noise all the same and counts; a unit whose gradient is not finite counts
    as zero.

    Equal arguments give equal bits on the same kind of machine, whatever its number of
    cores. The model, torch's global generator and its threads are left as they were.

    Args:
        model: says the shape of the computation. It must keep records apart.
        members: see `Member`; N >= 0 is private and shapes nothing else. A key is of
            the coins (and of dropout) and must stay as secret as the records.
        recipe: steps, mechanism, optimiser.
        noise_seeds: one per member, of this call's noise and no other's; None in
            deployment.
        starts: as in `train_stacked`.
        device: as in `train_stacked`.
        limit: as in `train_stacked`.

    Returns:
        (clients, parameters) float32, trained less released parameters.

    Raises:
        ModelError: a model that mixes records or that Opacus cannot handle, a member
            that does not say whose its records are where that is the unit, a noise
            seed that is empty, or a training that diverged.
    """
    _check_seeds(noise_seeds, len(members))
    length = parameter_count(model)
    if not members:
        return np.empty((0, length), dtype=np.float32)
    shape = tuple(members[0].x.shape[1:])
    engine = engine_for(model, shape)
    alone = engine.name == "loop"
    grouped = recipe.most_records is not None
    each = bytes_of_a_record(model, engine, shape, grouped=grouped)

    def work(stack: Stack) -> None:
        if alone:
            # Dropout draws from it. (torch.manual_seed also visits every device.)
            torch.default_generator.manual_seed(stack.members[0].key)
        seeds = [noise_seeds[place] for place in stack.places]
        at_once = max(1, limit // (len(seeds) * each))
        _descend(stack, recipe, gradients, seeds, length, at_once)

    with in_training(model, alone=alone), ExitStack() as hooks:
        try:
            _check(model, engine, shape)
            gradients = (
                _by_opacus(model, hooks) if alone else examples_of(model, engine)
            )
            changes = train_in_chunks(
                model,
                members,
                to_vector(model)[None] if starts is None else starts,
                work,
                images=engine.images,
                bytes_each=lambda one: bytes_of_a_client(one, recipe, each, length),
                limit=limit,
                alone=alone,
                device=CPU if alone else device,
            )
        except dp.ParameterError as error:
            raise ModelError(f"dp-sgd cannot train this model: {error}") from error
    # A sum is quicker, and finite only if all of it is; it may itself overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        total = changes.sum()
    if not np.isfinite(total) and not np.isfinite(changes).all():
        raise ModelError(
            f"DP-SGD diverged at learning_rate = {recipe.rule.learning_rate:g}; lower "
            "it, or the noise."
        )
    return changes


def _descend(
    stack: Stack,
    recipe: PrivateRecipe,
    gradients: Gradients,
    seeds: Sequence[bytes | None],
    length: int,
    at_once: int,
) -> None:
    """Take every step of a chunk, in place, so many records a client at once."""
    samples = sampler(
        stack.members,
        steps=recipe.steps,
        rate=recipe.mechanism.sampling_rate,
        most=recipe.most_records,
    )
    optimiser = optimiser_for(recipe.rule, stack.parameters, ())
    noises = recipe.mechanism.noises(length, seeds)
    for step in range(recipe.steps):
        sums = _clipped_sums(
            stack, recipe.mechanism, gradients, samples.at(step), at_once
        )
        drawn = torch.from_numpy(next(noises)).to(stack.x.device)
        released = map(Noised, sums, stack.shaped(drawn))
        optimiser.step(stack.parameters, list(released))


def _clipped_sums(
    stack: Stack,
    mechanism: DpSgd,
    gradients: Gradients,
    sample: Sample,
    at_once: int,
) -> Sequence[Slope]:
    """Return each client's share of clipped gradients, parameter by parameter."""
    device = stack.x.device
    clients, width, places = sample.shape
    units = max(1, at_once // places)
    parts: list[Sequence[Slope]] = []
    for start in range(0, width, units):
        part = sample.part(start, units)
        at = part.rows.reshape(-1).to(device)
        records = (clients, at.numel() // clients)
        found = gradients(
            stack.parameters,
            *stack.gathered(at, records),
            None if part.weights is None else part.weights.to(device),
        )
        factors = mechanism.shares(found.norms(), part.sampled.to(device))
        if isinstance(found, StackedExamples):
            clipped: Sequence[Slope] = found.parts(factors)
        else:
            clipped = [Whole(one) for one in stack.shaped(found.weighted_sums(factors))]
        # With several parts, only their sum is kept.
        parts = [_added(parts[0], clipped)] if parts else [clipped]
    # Nobody may have a record in this step.
    return parts[0] if parts else [Whole(torch.zeros_like(p)) for p in stack.parameters]


def _added(one: Sequence[Slope], other: Sequence[Slope]) -> list[Slope]:
    return [Whole(a.dense() + b.dense()) for a, b in zip(one, other, strict=True)]


def _check_seeds(seeds: Sequence[bytes | None], clients: int) -> None:
    """Refuse noise that two clients would share: their difference would be bare."""
    given = [seed for seed in seeds if seed is not None]
    if len(seeds) != clients or len(set(given)) != len(given):
        raise ModelError(
            f"{len(seeds)} noise seeds, {len(set(given))} of them distinct, for "
            f"{clients} clients; give each client a seed of its own, or None."
        )


def _check(model: nn.Module, engine: Engine, shape: tuple[int, ...]) -> None:
    """Refuse a model that mixes records; layers by hand are known not to."""
    if engine.mixes:
        raise dp.ParameterError(
            "a record's gradient depends on the others of its batch, so no gradient "
            "belongs to one record; remove what averages over the batch."
        )
    if engine.name != "by hand":
        with torch.random.fork_rng(devices=[]):
            check_independent(model, shape)


def _by_opacus(model: nn.Module, hooks: ExitStack) -> Gradients:
    """Hook the lent model until ``hooks`` ends."""
    of_units = hooks.enter_context(per_example(model))

    def gradients(
        parameters: Sequence[Tensor], x: Tensor, y: Tensor, weights: Tensor | None
    ) -> PerExampleGradients:
        put(model, parameters)
        own = None if weights is None else weights.squeeze(0)
        return of_units(x.squeeze(0), y.squeeze(0), own)

    return gradients
