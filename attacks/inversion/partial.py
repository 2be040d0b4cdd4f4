"""What is left of a first layer's gradient where a part of it was not seen.

Where a row's bias entry is hidden, the row still shows the record up to a factor:
`dW_j = d_j x^T` (see `linear`). The factor is then guessed: the largest entry of the
row is taken for the end of the value range. That is exact for a record that reaches it,
as images with a white or black pixel do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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
        return self.weight_seen is None and self.bias_seen is None

    def record(self) -> Tensor:
        """Return the least-squares `x` of `weight = bias x^T` over what was seen.

        Returns:
            (inputs,); entries that no seen row speaks of are zero.
        """
        if self.weight_seen is None:
            return (self.weight.T @ self.bias) / (self.bias @ self.bias)
        seen = self.weight_seen.to(self.weight.dtype)
        norms = seen.T @ self.bias.square()
        record = (self.weight.T @ self.bias) / norms
        return torch.where(norms > 0, record, torch.zeros_like(record))

    def completed(
        self, value_range: tuple[float, float] | None, *, single: bool
    ) -> "SeenLayer":
        """Guess the hidden bias entries from their rows.

        For a single record, rows whose entry was seen are enough where there are any.
        """
        if self.bias_seen is None or (single and bool((self.bias != 0).any())):
            return self
        reach = max(map(abs, value_range)) if value_range else 1.0
        peaks = self.weight.abs().argmax(dim=1, keepdim=True)
        guessed = self.weight.gather(1, peaks).flatten() / reach
        bias = torch.where(self.bias_seen, self.bias, guessed)
        return SeenLayer(self.weight, bias, self.weight_seen, self.bias_seen)
