"""What is left of a first layer's gradient where a part of it was not seen.

For one record the gradient of the weights is `dW = d x^T` with `d = db` (see `linear`),
and rank one is enough to fill in what was not seen, up to a factor: alternating least
squares over the seen entries. The factor follows from any entry of `db` that was seen;
else the largest entry of `x` is taken for the end of the value range, which is exact
for a record that reaches it, as images with a white pixel do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Alternations; of a matrix that is half seen each halves the error or better.
_ROUNDS = 60
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SeenLayer:
    """The gradient of a biased linear layer, as far as it was seen.

    `weight` is (rows, inputs), `bias` (rows,), both float64 and zero where they were
    not seen; `weight_seen` and `bias_seen` say what was, or are None where all was.
    """

    weight: Tensor
    bias: Tensor
    weight_seen: Tensor | None = None
    bias_seen: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Return whether nothing is missing."""
        return self.weight_seen is None or self.bias_seen is None

    def record(self, value_range: tuple[float, float] | None) -> Tensor:
        """Return the `x` of `weight = bias x^T` that fits what was seen best.

        Returns:
            (inputs,); entries that no seen row speaks of are zero.
        """
        if self.weight_seen is None:
            return (self.weight.T @ self.bias) / (self.bias @ self.bias)
        seen = self.weight_seen.to(self.weight.dtype)
        slopes = self.slopes(value_range)
        for _ in range(_ROUNDS):
            norms = seen.T @ slopes.square()
            record = (self.weight.T @ slopes) / norms.clamp_min(_TINY)
            lengths = seen @ record.square()
            slopes = (self.weight @ record) / lengths.clamp_min(_TINY)
        there = self.bias * slopes  # zero where the bias was not seen
        if bool((there != 0).any()):
            known = torch.where(self.bias != 0, slopes, torch.zeros_like(slopes))
            scaled = record * ((known @ known) / (known @ self.bias))
        else:
            scaled = record * (_reach(value_range) / record[record.abs().argmax()])
        return scaled if bool(scaled.isfinite().all()) else torch.zeros_like(record)

    def slopes(self, value_range: tuple[float, float] | None) -> Tensor:
        """Return the bias entries, those that were not seen guessed from their rows."""
        if self.bias_seen is None:
            return self.bias
        peaks = self.weight.abs().argmax(dim=1, keepdim=True)
        guessed = self.weight.gather(1, peaks).flatten() / _reach(value_range)
        return torch.where(self.bias_seen, self.bias, guessed)


def _reach(value_range: tuple[float, float] | None) -> float:
    return max(map(abs, value_range)) if value_range else 1.0
