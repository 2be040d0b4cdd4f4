"""Compare only a part of the gradient at each iteration, another one every time.

FedLeak (Fan et al., USENIX Security 2025, arXiv 2506.08435) matches gradients in part,
because all of one at once is a hard problem on large batches. Here the part is drawn
anew for every iteration, from entries or from whole tensors, and the same for every
guess; which guess is better is still decided by the whole gradient.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from attacks.errors import ParameterError


class Unit(StrEnum):
    """What is drawn: single entries, or the gradients of whole parameters."""

    ENTRIES = "entries"
    TENSORS = "tensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How much of the gradient counts in one iteration.

    Args:
        share: how likely an entry or a tensor is drawn, in (0, 1).
        unit: what is drawn.

    Raises:
        ParameterError: a share outside of (0, 1) (caller).
    """

    share: float
    unit: Unit = Unit.ENTRIES

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ParameterError(
                f"share={self.share} must lie between 0 and 1; for the whole gradient "
                "give no part."
            )

    def masks(
        self, weights: Mapping[str, Tensor], known: Mapping[str, Tensor] | None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield what counts in each iteration, bool by parameter name.

        The draws are the same in every search, so that observations attacked together
        come out as alone; at least one tensor is always drawn.

        Args:
            weights: the parameters whose gradient was observed.
            known: the entries that were seen; None for all.
        """
        draw = torch.Generator().manual_seed(0)
        while True:
            if self.unit is Unit.TENSORS:
                lots = torch.rand(len(weights), generator=draw)
                chosen = (lots < self.share) | (lots == lots.min())
                masks = {
                    name: torch.full_like(w, bool(one), dtype=torch.bool)
                    for (name, w), one in zip(weights.items(), chosen, strict=True)
                }
            else:
                masks = {
                    name: (torch.rand(w.shape, generator=draw) < self.share).to(
                        w.device
                    )
                    for name, w in weights.items()
                }
            if known is not None:
                masks = {name: mask & known[name] for name, mask in masks.items()}
            yield masks
