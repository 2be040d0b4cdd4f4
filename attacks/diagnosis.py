"""Why an attack may find nothing: what is unfit about an observation, and the cure.

Every check looks at the observation alone. A finding is no verdict: an attack may
still succeed, and an observation without findings may still give nothing.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from attacks.finding import Finding, Trouble
from attacks.inversion.layers import first_linear, last_linear
from attacks.observation import Observation

_DROPOUTS = (nn.modules.dropout._DropoutNd, nn.FeatureAlphaDropout)
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
# The class gradients of softmax cross-entropy add up to zero, but for rounding.
_SUMS_TO_ZERO = {torch.float64: 1e-9, torch.float32: 1e-3}
_FEW_LEVELS = 3  # distinct sizes of a quantised gradient's entries, zero included
_MATCHED_AT_MOST = 16
_SPEAR_AT_MOST = 24  # records that the paper separates; the search is exponential


def diagnose(observation: Observation) -> tuple[Finding, ...]:
    """Return what may keep attacks from finding anything, fatal findings first.

    Args:
        observation: what the adversary saw; it is not changed.

    Returns:
        Findings; none is no promise of success.
    """
    gradient = observation.gradient
    if gradient is None:
        sentence = "There is no gradient, only a model; inversion needs an update."
        return (Finding(trouble=Trouble.GRADIENT, sentence=sentence, fatal=True),)
    found = [
        *_of_gradient(gradient),
        *_of_mode(observation),
        *_of_buffers(observation.model),
        *_of_counts(observation),
    ]
    if not any(one.fatal for one in found):
        found += [*_of_layers(observation, gradient), *_of_loss(observation, gradient)]
    return tuple(sorted(found, key=lambda one: not one.fatal))


def _of_gradient(gradient: Mapping[str, Tensor]) -> Iterator[Finding]:
    for name, value in gradient.items():
        if not bool(value.isfinite().all()):
            yield Finding(
                trouble=Trouble.GRADIENT,
                sentence=f"gradient[{name!r}] is not finite: the client's step "
                "overflowed, or the file is damaged; take another update.",
                fatal=True,
            )
            return
    silent = [name for name, value in gradient.items() if not bool((value != 0).any())]
    if len(silent) == len(gradient):
        yield Finding(
            trouble=Trouble.GRADIENT,
            sentence="The gradient is zero everywhere: before and after are the same "
            "model; check which two you compared.",
            fatal=True,
        )
    elif silent:
        yield Finding(
            trouble=Trouble.GRADIENT,
            sentence=f"The gradient of {', '.join(silent[:3])} is all zero: frozen, "
            "dropped, or no unit was active; say which entries were seen (known).",
        )
    coarse = [name for name, value in gradient.items() if _is_coarse(value)]
    if coarse:
        yield Finding(
            trouble=Trouble.GRADIENT,
            sentence=f"The entries of gradient[{coarse[0]!r}] have one size only, as a "
            "sign or a quantiser leaves them; exact attacks need the numbers.",
        )


def _is_coarse(value: Tensor) -> bool:
    sizes = value.detach().abs().flatten()[:4096]
    return len(sizes) >= 64 and len(torch.unique(sizes)) < _FEW_LEVELS


def _of_mode(observation: Observation) -> Iterator[Finding]:
    for name, part in observation.model.named_modules():
        if isinstance(part, _DROPOUTS) and part.training and part.p > 0:
            yield Finding(
                trouble=Trouble.MODE,
                sentence=f"Layer {name} is dropout in training mode: its mask is "
                "unknown, and the gradient is that of another network; expect "
                "candidates, or say that the client was in evaluation mode.",
            )
            break
    for name, part in observation.model.named_modules():
        if isinstance(part, _BATCH_NORM) and part.training:
            yield Finding(
                trouble=Trouble.MODE,
                sentence=f"Layer {name} is BatchNorm in training mode, which mixes the "
                "records of a batch; if the client used evaluation mode, say so.",
            )
            break


def _of_buffers(model: nn.Module) -> Iterator[Finding]:
    for name, part in model.named_modules():
        if not isinstance(part, _BATCH_NORM) or part.running_mean is None:
            continue
        mean, variance = part.running_mean, part.running_var
        if variance is None or not bool(
            mean.isfinite().all()
            and variance.isfinite().all()
            and (variance >= 0).all()
        ):
            yield Finding(
                trouble=Trouble.BUFFERS,
                sentence=f"The statistics of BatchNorm layer {name} are impossible "
                "(not finite, or a negative variance); save the buffers again.",
                fatal=True,
            )
            return
        untouched = bool((mean == 0).all() and (variance == 1).all())
        if untouched and not part.training:
            yield Finding(
                trouble=Trouble.BUFFERS,
                sentence=f"BatchNorm layer {name} has the statistics it was made with "
                "although it computes with them: the buffers were probably not saved.",
            )
            return


def _of_counts(observation: Observation) -> Iterator[Finding]:
    steps, clients = observation.steps, observation.clients_summed
    if observation.batch_size is None:
        yield Finding(
            trouble=Trouble.KNOWLEDGE,
            sentence="The batch size is not known: nothing can be certified, and "
            "gradient matching cannot start; give it if the adversary knows it.",
        )
    if steps is None or steps > 1:
        taken = "an unknown number of" if steps is None else str(steps)
        yield Finding(
            trouble=Trouble.STEPS,
            sentence=f"{taken} local steps lie behind the update: the mean gradient "
            "is not that of any one model, and exact attacks give candidates at most.",
        )
    if clients > 1:
        yield Finding(
            trouble=Trouble.CLIENTS,
            sentence=f"The update is the sum of {clients} clients, one batch as large "
            "as all of theirs together.",
        )
    records = observation.records
    if records is not None and records > _MATCHED_AT_MOST:
        yield Finding(
            trouble=Trouble.BATCH,
            sentence=f"{records} records are in a step; gradient matching rarely "
            f"separates more than {_MATCHED_AT_MOST}, and SPEAR stops near "
            f"{_SPEAR_AT_MOST}.",
        )


def _of_layers(
    observation: Observation, gradient: Mapping[str, Tensor]
) -> Iterator[Finding]:
    site, why_not = first_linear(observation.model, observation.input_shape)
    bias_name = None if site is None else site.bias
    if (
        site is None
        or site.weight not in gradient
        or not (bias_name and bias_name in gradient)
    ):
        reason = why_not or "The first layer's weight or bias is not in the update."
        yield Finding(
            trouble=Trouble.LAYER,
            sentence=f"{reason} Linear inversion and SPEAR need a linear layer with "
            "bias that reads the record; use R-GAP, APRIL or gradient matching.",
        )
        return
    weight, bias = gradient[site.weight].double(), gradient[bias_name].double()
    yield from _of_rank(observation, site.weight, weight)
    if (observation.records, observation.steps) == (1, 1) and bool((bias != 0).any()):
        yield from _of_range(observation, (weight.T @ bias) / (bias @ bias))


def _of_rank(observation: Observation, name: str, weight: Tensor) -> Iterator[Finding]:
    """Compare the rank of a sum of outer products with the number of its terms."""
    spectrum = torch.linalg.svdvals(weight)
    eps = torch.finfo((observation.gradient or {})[name].dtype).eps
    rank = int((spectrum > 32 * eps * math.sqrt(max(weight.shape)) * spectrum[0]).sum())
    most = min(weight.shape)
    records = observation.records
    behind = None if records is None else records * (observation.steps or 1)
    if behind is not None and behind >= most:
        yield Finding(
            trouble=Trouble.BATCH,
            sentence=f"{behind} records meet in {name}, which has rank {most} at most: "
            "the layer's gradient no longer tells them apart exactly.",
        )
    elif behind is not None and rank > behind:
        yield Finding(
            trouble=Trouble.BATCH,
            sentence=f"The gradient of {name} has rank {rank}, more than {behind} "
            "records can give: noise was added, or more records or steps are in it.",
        )


def _of_range(observation: Observation, record: Tensor) -> Iterator[Finding]:
    if observation.value_range is None:
        return
    low, high = observation.value_range
    slack = 0.01 * (high - low)
    least, most = float(record.min()), float(record.max())
    if least < low - slack or most > high + slack:
        yield Finding(
            trouble=Trouble.RANGE,
            sentence=f"What the first layer shows of the record lies outside the "
            f"value_range {low:g} to {high:g}: give the range after normalisation, or "
            "the update is not that of one record.",
        )


def _of_loss(
    observation: Observation, gradient: Mapping[str, Tensor]
) -> Iterator[Finding]:
    """Check the output layer's bias gradient, which tells the loss and the sign."""
    last = last_linear(observation.model, observation.input_shape, observation.classes)
    if last is None or last.bias is None or last.bias not in gradient:
        return
    if observation.known is not None or not bool((gradient[last.bias] != 0).any()):
        return
    slopes = gradient[last.bias].double()
    allowed = _SUMS_TO_ZERO.get(gradient[last.bias].dtype, 2e-2)
    excess = float(slopes.sum().abs() / slopes.abs().sum())
    if excess > allowed:
        yield Finding(
            trouble=Trouble.GRADIENT,
            sentence=f"The gradient of {last.bias} does not add up to zero (off by "
            f"{excess:.1e} of its size), as that of softmax cross-entropy does: noise, "
            "a mask, weight decay or another loss is in it.",
        )
    elif observation.records == 1 and int((slopes > 0).sum()) == 1 < len(slopes) - 1:
        yield Finding(
            trouble=Trouble.GRADIENT,
            sentence=f"One entry of the gradient of {last.bias} is positive and the "
            "others are not: the sign is turned; the gradient is before - after.",
        )
