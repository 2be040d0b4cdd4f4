"""The loss gradient at the output layer of a classifier, for one record.

With a bias its gradient is the answer: `delta = p - y`. Without one, `G = delta x^T`
gives delta up to a factor: `delta = s a`, and `W x = v / s` with `v = W G^T a` known. A
scale s is right if `softmax(v / s) - y = s a` in every class; the label y is the only
class in which delta is negative. For two classes that is one equation, which two
scales may solve (the twin data of Zhu and Blaschko, arXiv 2010.07733, section 3).
"""

import torch
from scipy.optimize import brentq
from torch import Tensor

_GRID = 4000  # scales between which roots are bracketed
_SMALLEST = 1e-8
_FITS = 1e-7  # largest gap, in units of probability


def output_deltas(
    weight: Tensor, weight_gradient: Tensor, bias_gradient: Tensor | None
) -> list[Tensor]:
    """Return every delta (classes,) that fits the output layer's gradients.

    Args:
        weight: (classes, width).
        weight_gradient: (classes, width).
        bias_gradient: (classes,), or None if the layer has no bias.
    """
    if bias_gradient is not None:
        return [bias_gradient] if bool(bias_gradient.any()) else []
    if not bool(weight_gradient.any()):
        return []
    left, _, _ = torch.linalg.svd(weight_gradient, full_matrices=False)
    unit = left[:, 0]
    if int((unit < 0).sum()) != 1:
        unit = -unit
    if int((unit < 0).sum()) != 1:
        return []
    label = int(unit.argmin())
    logits = weight @ (weight_gradient.T @ unit)
    one_hot = torch.zeros_like(unit)
    one_hot[label] = 1.0

    def misfit(scale: float) -> Tensor:
        gap: Tensor = (logits / scale).softmax(0) - one_hot - scale * unit
        return gap

    def at_label(scale: float) -> float:
        return float(misfit(scale)[label])

    # Two probability vectors differ by at most sqrt(2).
    scales = torch.logspace(
        torch.tensor(_SMALLEST).log10().item(), 0.16, _GRID, dtype=torch.float64
    )
    found = []
    chances = (logits / scales[:, None]).softmax(dim=1)[:, label]
    values = chances - 1 - scales * unit[label]
    for i in torch.nonzero(values[:-1] * values[1:] <= 0).flatten().tolist():
        scale = brentq(at_label, float(scales[i]), float(scales[i + 1]), xtol=1e-16)
        if float(misfit(scale).abs().max()) <= _FITS:
            found.append(scale * unit)
    return found
