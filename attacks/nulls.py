"""Chance baselines: what an attack appears to achieve when nothing leaked.

Three kinds: other real records in the place of the truth, the mean record in the place
of the reconstruction, and a gradient that has nothing to do with the victim in the
place of the observation. How results are compared with them is in `attacks.bounds`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from attacks.errors import MissingKnowledge, ParameterError, ScoringError
from attacks.observation import Observation


def other_records(
    pool: Tensor, truth: Tensor, *, sets: int, seed: int
) -> tuple[Tensor, ...]:
    """Draw null sets: real records that are not the victim's.

    Guarantee: no drawn record equals a true one in value, no set repeats a row of the
    pool, and the sets share no row as long as the pool is large enough for that.

    Args:
        pool: (N, *shape) real records; they may include the victim's.
        truth: (M, *shape) the victim's records.
        sets: number of sets, at least one.
        seed: of the draw.

    Returns:
        `sets` tensors of the shape of `truth`.

    Raises:
        ScoringError: fewer than M other records are in the pool.
        ParameterError: `sets` is below one.
    """
    if sets < 1:
        raise ParameterError(f"sets={sets} must be at least 1.")
    if pool.shape[1:] != truth.shape[1:]:
        raise ScoringError(
            f"The pool's records have shape {tuple(pool.shape[1:])} but the truth's "
            f"{tuple(truth.shape[1:])}."
        )
    known = set(_rows(truth.to(pool.dtype)))
    others = pool[[row not in known for row in _rows(pool)]]
    size = len(truth)
    if len(others) < size:
        raise ScoringError(
            f"The pool holds {len(others)} records that are not the victim's but a "
            f"null set needs {size}; give a larger pool."
        )
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    order = torch.empty(0, dtype=torch.long)
    for _ in range(sets):
        if len(order) < size:
            order = torch.randperm(len(others), generator=generator)
        drawn.append(others[order[:size].to(others.device)])
        order = order[size:]
    return tuple(drawn)


def _rows(records: Tensor) -> list[bytes]:
    # Adding zero turns -0.0 into 0.0, so that equal values have equal bytes.
    flat = (records.detach().cpu() + 0).reshape(len(records), -1)
    return [row.tobytes() for row in flat.contiguous().numpy()]


def mean_record(pool: Tensor, *, count: int) -> Tensor:
    """Return the pool's mean record `count` times: the attacker who knows the average.

    Returns:
        (count, *shape).
    """
    if len(pool) == 0 or count < 1:
        raise ParameterError("mean_record needs a non-empty pool and count >= 1.")
    return pool.mean(dim=0, keepdim=True).repeat(count, *[1] * (pool.dim() - 1))


def with_random_gradient(observation: Observation, *, seed: int) -> Observation:
    """Replace the gradient by Gaussian noise of the same norm in every tensor.

    An attack run on the result shows what its priors alone achieve.

    Raises:
        MissingKnowledge: there is no gradient to replace.
    """
    if observation.gradient is None:
        raise MissingKnowledge("random gradient", "gradient")
    generator = torch.Generator().manual_seed(seed)
    noise: dict[str, Tensor] = {}
    for name, tensor in observation.gradient.items():
        draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        draw = draw * (float(tensor.norm()) / max(float(draw.norm()), 1e-300))
        noise[name] = draw.to(tensor.device, tensor.dtype)
    return replace(observation, gradient=noise)


def with_foreign_gradient(
    observation: Observation, gradient: Mapping[str, Tensor]
) -> Observation:
    """Replace the gradient by one of other records; known labels are dropped.

    An attack run on the result shows what any gradient of this model achieves.
    """
    return replace(observation, gradient=gradient, labels=None)
