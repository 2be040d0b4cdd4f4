"""Labels and replay for a recovered batch of token sequences.

Once the sequences are known, so are the rows h that the output layer reads and its
probabilities p; its weight gradient is the mean of `(p - y) h^T`, linear in the unknown
one-hot labels y. In a model that answers at every position only what follows the last
token is unknown. Labels that do not come out one-hot disprove the sequences.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.inversion.agreement import tolerance_of
from attacks.inversion.sequences import quiet_copy
from attacks.observation import Observation


def certify_batch(seen: Observation, found: Tensor) -> tuple[Tensor | None, str]:
    """Return the labels and why there is no certificate ("" if there is)."""
    if seen.steps != 1 or seen.records is None:
        return None, "Only a known number of records in one step can be proven."
    if len(found) != seen.records:
        return None, (
            f"{len(found)} different sequences lie in the spans of {seen.records} "
            "records."
        )
    labels, why_not = labels_of(seen, found)
    if labels is None:
        return None, why_not
    sine = replayed_batch_sine(seen, found, labels)
    if not sine <= tolerance_of(seen).replay:
        return labels, (
            "The sequences lie in the spans, but together they have another gradient: "
            f"residual {sine:.1e}."
        )
    return labels, ""


def labels_of(seen: Observation, sequences: Tensor) -> tuple[Tensor | None, str]:
    """Read the label of each sequence off the output layer's weight gradient.

    Returns:
        int64 (K,) and "", or None and why not.
    """
    model = quiet_copy(seen.model)
    name, head = _output_layer(model, seen.classes)
    if head is None:
        return None, "There is no linear output layer from which labels can be read."
    if name not in (seen.gradient or {}) or _is_shared(seen.model, name):
        return None, (
            "The output layer's weight is shared with the embedding or was not seen, "
            "so labels cannot be read off."
        )
    rows, logits = _answer(model, head, sequences)
    rows, logits = rows.double(), logits.double()
    count = logits[..., 0].numel()
    # (p - y) for all but the unknown labels, summed: what is left is -sum y h^T.
    total = logits.softmax(-1).flatten(0, -2).T @ rows.flatten(0, -2)
    if logits.dim() == 3:
        later = functional.one_hot(sequences[:, 1:], seen.classes).to(total)
        total = total - later.flatten(0, 1).T @ rows[:, :-1].flatten(0, 1)
        rows = rows[:, -1]
    missing = total - count * (seen.gradient or {})[name].to(total)  # (classes, width)
    if len(rows) > rows.shape[1]:
        return None, "More records than the output layer is wide; labels stay mixed."
    one_hot = torch.linalg.lstsq(rows.T, missing.T).solution  # (K, classes)
    labels = one_hot.argmax(dim=1)
    gap = (one_hot - functional.one_hot(labels, seen.classes)).abs().max()
    if not float(gap) <= tolerance_of(seen).replay ** 0.5:
        return None, (
            f"The labels of the sequences are not whole classes (off by {gap:.1e}): "
            "the output layer saw something else."
        )
    return labels.cpu(), ""


def replayed_batch_sine(seen: Observation, sequences: Tensor, labels: Tensor) -> float:
    """Return the sine of the angle between the batch's gradient and the observed."""
    model = quiet_copy(seen.model)
    observed = dict(seen.gradient or {})
    device = next(model.parameters()).device
    named = dict(model.named_parameters())
    weights = [named[name].requires_grad_(True) for name in observed]
    with torch.enable_grad():
        logits = model(sequences.to(device))
        targets = labels.to(device)
        if logits.dim() == 3:
            targets = torch.cat(
                [sequences[:, 1:].to(device), targets[:, None]], dim=1
            ).flatten()
            logits = logits.flatten(0, 1)
        loss = functional.cross_entropy(logits, targets)
        grads = torch.autograd.grad(loss, weights, materialize_grads=True)
    guess = torch.cat([g.double().flatten() for g in grads])
    target = torch.cat([g.double().flatten() for g in observed.values()])
    scale = (guess @ target) / (guess @ guess).clamp_min(1e-300)
    return float((target - scale * guess).norm() / target.norm())


def _output_layer(model: nn.Module, classes: int) -> tuple[str, nn.Linear | None]:
    last: tuple[str, nn.Linear | None] = ("", None)
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and part.out_features == classes:
            last = (f"{name}.weight", part)
    return last


def _is_shared(model: nn.Module, weight: str) -> bool:
    named = list(model.named_parameters(remove_duplicate=False))
    own = dict(named)[weight]
    return sum(other is own for _, other in named) > 1


def _answer(
    model: nn.Module, head: nn.Linear, sequences: Tensor
) -> tuple[Tensor, Tensor]:
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        logits = model(sequences.to(head.weight.device))
    handle.remove()
    return seen[-1], logits
