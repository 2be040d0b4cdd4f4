"""Class counts from the bias gradient of the last layer.

For mean cross-entropy over B records `B db_j = sum_i p_ij - count_j` holds exactly
(iDLG, Zhao et al. 2020, for B = 1; the same identity underlies LLG and iLRG). The sum
of the probabilities is estimated by the model's mean softmax on inputs that the
attacker makes up, or better on a reconstruction. Since it is not negative,
`count_j >= -B db_j` is certain, also when the gradient was clipped.

Not here: updates of several steps, models whose last layer has no bias.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.errors import LabelsUnavailable, ParameterError
from attacks.inversion.layers import last_linear
from attacks.inversion.replay import replay_of
from attacks.observation import Observation, require

NEEDS = frozenset({"gradient", "batch_size"})
USES = frozenset({"value_range", "known"})
_PROBES = 256  # made-up inputs: the mean softmax is then known to a few per cent
_ROUNDING = 1e-4  # rounding errors, relative to the largest entry, raise no count


def label_counts(
    observation: Observation, *, seed: int, inputs: Tensor | None = None
) -> Tensor:
    """Estimate how many records of each class are inside one step.

    Guarantee: the counts are non-negative and sum to the number of records; for one
    record and an exact gradient the answer is exact.

    Args:
        observation: gradient and batch size must be known.
        seed: of the made-up inputs.
        inputs: a reconstruction to estimate the probabilities on, (K, *input_shape).

    Returns:
        int64 (classes,).

    Raises:
        MissingKnowledge: no gradient or no batch size.
        LabelsUnavailable: the last layer's bias gradient was not seen or not finite.

    Source: arXiv 2001.02610 (iDLG), equation 4, summed over the batch.
    """
    seen = require(observation, NEEDS, uses=USES, attack="label counts")
    site = last_linear(seen.model, seen.input_shape, seen.classes)
    gradient = seen.gradient or {}
    if site is None or site.bias is None or site.bias not in gradient:
        raise LabelsUnavailable(
            "No bias gradient of a last layer as wide as the classes was seen; give "
            "the labels or choose an attack that does without."
        )
    bias = gradient[site.bias].double().cpu()
    if not bool(bias.isfinite().all()):
        raise LabelsUnavailable("The last layer's bias gradient is not finite.")
    total = seen.records or 1
    if inputs is None:
        inputs = _made_up_inputs(seen, seed)
    logits = replay_of(seen.model, gradient).logits(inputs)
    mean_softmax = _expected_softmax(logits.double().cpu())
    slack = _ROUNDING * float((total * bias).abs().max().clamp_max(1.0))
    certain = torch.ceil(-total * bias - slack).clamp_min(0).long()
    return whole_counts(total * (mean_softmax - bias), certain, total)


def estimate_labels(
    observation: Observation, *, seed: int, inputs: Tensor | None = None
) -> Tensor:
    """Return `label_counts` as a sorted list of labels, int64 (records,)."""
    counts = label_counts(observation, seed=seed, inputs=inputs)
    return torch.repeat_interleave(torch.arange(observation.classes), counts)


def guess_counts(total: int, prior: Sequence[float]) -> Tensor:
    """Return the counts that a prior alone suggests: the null of a label attack.

    Args:
        total: records in a step.
        prior: class frequencies, non-negative with a positive sum.

    Returns:
        int64 (classes,), summing to `total`.

    Raises:
        ParameterError: the prior is no distribution or `total` is below one.
    """
    weights = torch.tensor(list(prior), dtype=torch.float64)
    valid = weights.numel() > 1 and bool(weights.isfinite().all())
    if total < 1 or not valid or float(weights.min()) < 0 or float(weights.sum()) <= 0:
        raise ParameterError(
            "guess_counts needs total >= 1 and non-negative class frequencies."
        )
    expected = total * weights / weights.sum()
    return whole_counts(expected, torch.zeros(len(weights)).long(), total)


def label_accuracy(estimated: Tensor, truth: Tensor, *, classes: int) -> float:
    """Return the fraction of the true label multiset that was found (LnAcc).

    Args:
        estimated: int64 (K,); order does not matter.
        truth: int64 (M,).
        classes: number of classes.
    """
    if truth.numel() == 0:
        raise ParameterError("label_accuracy needs at least one true label.")
    found = torch.bincount(estimated.cpu(), minlength=classes)
    real = torch.bincount(truth.cpu(), minlength=classes)
    return float(torch.minimum(found, real).sum()) / truth.numel()


def _expected_softmax(logits: Tensor) -> Tensor:
    """Estimate the mean softmax on real records from that on the given inputs.

    An unsure model says much the same about every input, so the given inputs speak for
    the real ones. A confident model says which class it sees, and made-up inputs are
    of the wrong classes: then the even spread over classes is the better guess. The
    weight between the two is the entropy in units of its maximum.
    """
    softmax = logits.softmax(dim=1)
    classes = logits.shape[1]
    entropy = torch.special.entr(softmax).sum(dim=1).mean() / math.log(classes)
    blend: Tensor = entropy * softmax.mean(dim=0) + (1 - entropy) / classes
    return blend


def _made_up_inputs(seen: Observation, seed: int) -> Tensor:
    anchor = next(seen.model.parameters())
    generator = torch.Generator().manual_seed(seed)
    shape = (_PROBES, *seen.input_shape)
    if seen.value_range is None:
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        low, high = seen.value_range
        noise = torch.rand(shape, generator=generator, dtype=torch.float64)
        noise = low + (high - low) * noise
    return noise.to(anchor.device, anchor.dtype)


def whole_counts(expected: Tensor, certain: Tensor, total: int) -> Tensor:
    """Round to the nearest whole counts that sum to `total`, above the certain ones.

    Handing units one by one to the class that lacks most is the exact least-squares
    rounding under these constraints (marginal costs are increasing).
    """
    counts = certain.clone() if int(certain.sum()) <= total else certain * 0
    for _ in range(total - int(counts.sum())):
        counts[int((expected - counts).argmax())] += 1
    return counts
