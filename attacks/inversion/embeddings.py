"""A copy of a sequence classifier that takes embeddings in the place of token ids.

The layer that looks tokens up is found by running the model and watching, then answers
with whatever it is told to. Gradients are those of the other observed weights: that of
the table is no function of free embeddings, but its rows that are not zero are the
tokens of the batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attacks.inversion.replay import Replay, replay_of
from attacks.observation import Observation


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model by the embeddings of its tokens.

    Attributes:
        replay: its copy; `weights` are those whose gradient is matched.
        table: (tokens, width).
        allowed: tokens that can be in the batch, int64, rising.
        gradient: from embeddings (B, length, width) and (B, classes) to the gradient by
            parameter name, differentiable, also under `torch.func.vmap`.
    """

    replay: Replay
    table: Tensor
    allowed: Tensor
    gradient: Callable[[Tensor, Tensor], dict[str, Tensor]]


def embedded(seen: Observation, target: Mapping[str, Tensor]) -> Embedded | str:
    """Open a model at its embeddings, or say why that cannot be.

    Args:
        seen: of sequences of tokens.
        target: the observed gradient.
    """
    length, tokens = seen.input_shape[0], seen.tokens or 0
    anchor = next(seen.model.parameters())
    ids = torch.zeros((1, length), dtype=torch.int64, device=anchor.device)
    name, logits = _table_of(seen.model, ids, tokens)
    if name is None:
        return "No embedding layer looks the tokens up."
    if logits.dim() != 2:
        return (
            "The model answers at every position, so its labels are the tokens that "
            "are sought; use DAGER."
        )
    of_table = f"{name}.weight" if name else "weight"
    others = {key: g for key, g in target.items() if key != of_table}
    if not any(bool((g != 0).any()) for g in others.values()):
        return "Beside that of the embeddings no gradient was seen."
    replay = replay_of(seen.model, others)
    told: list[Tensor] = []
    layer = replay.module.get_submodule(name)
    layer.register_forward_hook(lambda *_: told[-1])

    def gradient(guess: Tensor, labels: Tensor) -> dict[str, Tensor]:
        told.append(guess)
        try:
            # The fused kernels of attention have no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                return replay.loss_gradient(ids.expand(len(guess), -1), labels)
        finally:
            told.pop()

    looked_up = seen.model.get_submodule(name)
    assert isinstance(looked_up, nn.Embedding)
    table = looked_up.weight.detach()
    allowed = torch.arange(tokens, device=table.device)
    rows = target.get(of_table)
    if rows is not None:
        allowed = allowed[(rows != 0).any(dim=1)]
    if len(allowed) == 0:
        return "No row of the embeddings has a gradient."
    return Embedded(replay, table, allowed, gradient)


def _table_of(model: nn.Module, ids: Tensor, tokens: int) -> tuple[str | None, Tensor]:
    """Return the name of the layer that is given the ids, and the model's answer."""
    found: list[str] = []
    replay = replay_of(model, {})

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            if given and given[0].shape == ids.shape and torch.equal(given[0], ids):
                found.append(name)

        return note

    hooks = [
        layer.register_forward_pre_hook(watch(name))
        for name, layer in replay.module.named_modules()
        if isinstance(layer, nn.Embedding) and layer.num_embeddings == tokens
    ]
    try:
        logits = replay.logits(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return (found[0] if len(found) == 1 else None), logits
