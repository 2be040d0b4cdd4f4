"""Whether one recovered record explains the whole observed gradient.

The last word before any certificate for a single record: the gradient of the recovered
record, replayed through the whole model, must point the way of the observed one. How
close is close enough depends on the coarsest number type that was involved. Batches
and sequences of tokens are checked elsewhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from attacks.inversion.layers import last_linear
from attacks.inversion.replay import replay_of
from attacks.observation import Observation


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Relative residuals that rounding in one dtype can explain.

    `fit` bounds the residual of a linear system over its right-hand side, `replay`
    the sine of the angle to the replayed gradient (wider: softmax loses digits on well
    fitted records), `agree` the distance of two vectors that show the same record.
    """

    fit: float
    replay: float
    agree: float


_TOLERANCES = {
    torch.float64: Tolerance(1e-8, 1e-6, 1e-6),
    torch.float32: Tolerance(1e-3, 1e-2, 1e-3),
}
_COARSE = Tolerance(0.0, 0.0, 2e-2)  # half precision: candidates, never certificates


def tolerance_of(seen: Observation) -> Tolerance:
    """Return what rounding may explain in this observation."""
    return _TOLERANCES.get(_coarsest(seen), _COARSE)


def rounding_of(seen: Observation) -> float:
    """Return the relative rounding error of the coarsest number in an observation."""
    return float(torch.finfo(_coarsest(seen)).eps)


def is_one_record(seen: Observation) -> bool:
    """Tell whether the observation says: one client, one step, one record."""
    return (seen.records, seen.steps) == (1, 1)


def out_of_range(seen: Observation, record: Tensor, tolerance: Tolerance) -> bool:
    """Tell whether a record leaves the known value range by more than rounding."""
    if seen.value_range is None:
        return False
    low, high = seen.value_range
    slack = max(tolerance.agree * (high - low), 1e-12)
    return bool(record.min() < low - slack or record.max() > high + slack)


def replayed_sine(seen: Observation, record: Tensor) -> tuple[int, float]:
    """Return the label whose replayed gradient fits best, and the sine of the angle.

    The sine ignores a positive factor, because clipping rescales an honest gradient.

    Args:
        seen: an observation with a gradient.
        record: one record in any shape.
    """
    observed = dict(seen.gradient or {})
    replay = replay_of(seen.model, observed)
    anchor = next(seen.model.parameters())
    inputs = record.to(anchor.device, anchor.dtype).reshape(1, *seen.input_shape)
    target = torch.cat([g.double().flatten() for g in observed.values()])
    best = (0, float("inf"))
    for label in _label_guesses(seen):
        one_hot = functional.one_hot(torch.tensor([label]), seen.classes)
        replayed = replay.gradient(
            inputs, one_hot.to(anchor.device, anchor.dtype), differentiable=False
        )
        if seen.known is not None:
            replayed = {name: g * seen.known[name] for name, g in replayed.items()}
        guess = torch.cat([replayed[name].double().flatten() for name in observed])
        scale = (guess @ target) / (guess @ guess).clamp_min(1e-300)
        if scale > 0:
            sine = float((target - scale * guess).norm() / target.norm())
            best = min(best, (label, sine), key=lambda pair: pair[1])
    return best


def _coarsest(seen: Observation) -> torch.dtype:
    dtypes = {next(seen.model.parameters()).dtype}
    dtypes |= {g.dtype for g in (seen.gradient or {}).values()}
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _label_guesses(seen: Observation) -> list[int]:
    """Return the known label, that of the sign rule, or every class."""
    if seen.labels is not None:
        return [int(seen.labels[0])]
    last = last_linear(seen.model, seen.input_shape, seen.classes)
    name = (last.bias or "") if last else ""
    bias = (seen.gradient or {}).get(name)
    if bias is not None and (seen.known is None or bool(seen.known[name].all())):
        return [int(bias.argmin())]
    return list(range(seen.classes))
