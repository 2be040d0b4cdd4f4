"""How far one exact gradient determines one record, from the architecture alone.

The rank analysis of R-GAP (Zhu and Blaschko, ICLR 2021, arXiv 2010.07733, section 3):
at each layer of a chain, the constraints on the input (`attacks.inversion.chain`) are
counted by rank for a made-up record. A layer that falls short hides the record from
the recursion. The paper weighs the shortfalls into one index; we give them layer by
layer and as a sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.inversion.chain import Stage, chain_of


@dataclass(frozen=True, slots=True)
class LayerRank:
    """How much the constraints on one layer's input say.

    Args:
        name: the layer.
        unknowns: entries of its input.
        constraints: weight and gradient constraints together.
        rank: how many of them are independent, for a made-up record.
    """

    name: str
    unknowns: int
    constraints: int
    rank: int

    @property
    def shortfall(self) -> int:
        """Dimensions of the input that stay free; 0 if it is determined."""
        return self.unknowns - self.rank


@dataclass(frozen=True, slots=True)
class RankAnalysis:
    """The a-priori risk of an architecture: what one exact gradient determines.

    `layers` is ordered from the record to the output; empty if the model is no chain
    of invertible layers, and `reason` then says why.
    """

    layers: tuple[LayerRank, ...]
    reason: str

    @property
    def shortfall(self) -> int:
        """Free dimensions summed over the layers; 0 means full exposure."""
        return sum(layer.shortfall for layer in self.layers)

    @property
    def exposed(self) -> bool:
        """Tell whether one record is determined by its exact gradient."""
        return bool(self.layers) and self.shortfall == 0


def rank_analysis(
    model: nn.Module, input_shape: tuple[int, ...], *, seed: int = 0
) -> RankAnalysis:
    """Measure how far one exact gradient would determine one record.

    Looks at the model only; no gradient of any client is needed. The ranks are those
    of a made-up record and hold for all records but exceptional ones.

    Source: arXiv 2010.07733, section 3 (rank analysis).
    """
    stages, why_not = chain_of(model, input_shape)
    if not stages:
        return RankAnalysis((), why_not)
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand((1, *input_shape), generator=generator, dtype=torch.float64)
    outputs = []
    for stage in stages:
        linear = stage.forward(values.reshape(1, *stage.shape))[0] + stage.offset()
        values = stage.bend.apply(linear)[None]
        outputs.append(values[0])
    delta = torch.randn(outputs[-1].shape, generator=generator, dtype=torch.float64)
    layers = []
    for stage, output in zip(reversed(stages), reversed(outputs), strict=True):
        delta = delta.reshape(output.shape) * stage.bend.slope(output)
        layers.append(_rank_of(stage, delta))
        delta = stage.pull_back(delta)
    return RankAnalysis(tuple(reversed(layers)), "")


def _rank_of(stage: Stage, delta: Tensor) -> LayerRank:
    weights = stage.layer.weight.numel()
    constraints = delta.numel() + weights
    if isinstance(stage.layer, nn.Linear):
        # Any row of delta x^T that is not zero determines x.
        rank = stage.unknowns if bool(delta.any()) else 0
        return LayerRank(stage.name, stage.unknowns, constraints, rank)
    matrix = stage.system(delta)
    gram = matrix.T @ matrix
    size = float(torch.linalg.matrix_norm(gram, 1))  # at least the largest eigenvalue
    cut = len(gram) * torch.finfo(torch.float64).eps * size
    # Positive definite above the cut is full rank, and far cheaper to test.
    shifted = gram - cut * torch.eye(len(gram), dtype=torch.float64)
    if int(torch.linalg.cholesky_ex(shifted).info) == 0:
        rank = stage.unknowns
    else:
        rank = int((torch.linalg.eigvalsh(gram) > cut).sum())
    return LayerRank(stage.name, stage.unknowns, constraints, rank)
