"""A payload in the layout of the tool breaching as observations.

Nothing is imported from that tool and nothing is guessed in silence: what a payload
does not say (the mode, above all) is an argument. Labels that a payload carries stay
out unless asked for, because a server does not have them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attacks.errors import ObservationError
from attacks.filling import filled
from attacks.observation import Adversary, Observation


def from_breaching(
    server_payload: Sequence[Mapping[str, Any]],
    shared_data: Sequence[Mapping[str, Any]],
    model: nn.Module,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    training: bool | None = None,
    value_range: tuple[float, float] | None = None,
    with_labels: bool = False,
) -> tuple[Observation, ...]:
    """Turn a payload in the layout of the tool breaching into observations.

    `server_payload` is a list of `dict(parameters, buffers, metadata)`, one per model
    sent; `shared_data` a list of `dict(gradients, buffers, metadata)` that pairs with
    it; tensors come as lists in the model's own order, or by name. Where the metadata
    has `local_hyperparams`, what is called gradients is `after - before`, and becomes a
    mean gradient here; the steps are plain ones that go over the user's records in
    turn, so that their labels are those of whole epochs.

    Args:
        server_payload: what the server sent.
        shared_data: what the user shared.
        model: the architecture; it is copied, never written to.
        input_shape: of one record.
        classes: width of the model's output.
        training: the mode in which the user computed the gradient; None for the
            tool's own rule: evaluation where the server sent buffers, else training.
        value_range: lowest and highest value of an input entry, if known.
        with_labels: take the labels of the payload, an assumption to be stated.

    Returns:
        One observation per model sent.

    Raises:
        ObservationError: the payload contradicts itself or the model, or lacks the
            buffers that evaluation mode needs (caller).
    """
    if len(server_payload) != len(shared_data) or not server_payload:
        raise ObservationError(
            f"{len(server_payload)} models and {len(shared_data)} updates do not "
            "pair; give the update to each model."
        )
    return tuple(
        _of_pair(
            payload,
            shared,
            model,
            training=training,
            value_range=value_range,
            shape_and_classes=(input_shape, classes),
            with_labels=with_labels,
        )
        for payload, shared in zip(server_payload, shared_data, strict=True)
    )


def _of_pair(
    payload: Mapping[str, Any],
    shared: Mapping[str, Any],
    model: nn.Module,
    *,
    training: bool | None,
    value_range: tuple[float, float] | None,
    shape_and_classes: tuple[tuple[int, ...], int],
    with_labels: bool,
) -> Observation:
    facts = shared.get("metadata") or {}
    local = facts.get("local_hyperparams") or {}
    if training is None:
        training = payload.get("buffers") is None
    names = [name for name, _ in model.named_parameters()]
    twin = filled(
        model,
        _named(payload.get("parameters"), names, "parameters"),
        _buffers_of(payload, shared, model, training=training),
        where="the payload",
    ).train(training)
    gradient = _named(shared.get("gradients"), names, "gradients")
    steps = int(local.get("steps") or 1)
    lr = None
    if local:
        lr = float(local.get("lr") or 0)
        if not lr > 0:
            raise ObservationError(
                "local_hyperparams has no positive lr; add it, since what was shared "
                "is a change of the parameters and lr turns it into a gradient."
            )
        gradient = {name: -value / (lr * steps) for name, value in gradient.items()}
    batch = local.get("data_per_step", facts.get("num_data_points"))
    epochs = _epochs(facts, batch, steps) if local else None
    labels = _labels(facts, local, epochs) if with_labels else None
    input_shape, classes = shape_and_classes
    return Observation(
        adversary=Adversary.SERVER,
        view="one client's update",
        model=twin,
        gradient=gradient,
        batch_size=None if batch is None else int(batch),
        steps=steps,
        labels=labels,
        input_shape=input_shape,
        classes=classes,
        value_range=value_range,
        lr=lr,
        momentum=0.0 if local else None,
        epochs=epochs,
    )


def _epochs(facts: Mapping[str, Any], batch: Any, steps: int) -> int | None:
    """Return how often the steps went over the user's records, if whole times."""
    points = facts.get("num_data_points")
    if points is None or batch is None or int(points) < 1:
        return None
    whole, rest = divmod(int(batch) * steps, int(points))
    return None if rest or whole < 1 else whole


def _labels(
    facts: Mapping[str, Any], local: Mapping[str, Any], epochs: int | None
) -> Tensor | None:
    """Return the labels of a step, or of one epoch where the steps' own are listed."""
    by_step = local.get("labels")
    if by_step and epochs is not None:
        every = torch.cat([torch.as_tensor(one).reshape(-1) for one in by_step])
        return every[: len(every) // epochs].long()
    plain = facts.get("labels")
    return None if plain is None else torch.as_tensor(plain).long()


def _buffers_of(
    payload: Mapping[str, Any],
    shared: Mapping[str, Any],
    model: nn.Module,
    *,
    training: bool,
) -> dict[str, Tensor]:
    """Return the buffers that the step computed with, as far as they matter."""
    own = [name for name, _ in model.named_buffers()]
    if payload.get("buffers") is not None:
        return _named(payload["buffers"], own, "buffers")
    if own and not training:
        raise ObservationError(
            f"The server's payload has no buffers but the model has {own[0]!r}, and "
            "evaluation mode computes with it; add the buffers, or say training=True."
        )
    if shared.get("buffers") is not None:
        return _named(shared["buffers"], own, "buffers")
    return dict(model.named_buffers())


def _named(values: Any, names: Sequence[str], what: str) -> dict[str, Tensor]:
    """Return tensors by name, from a mapping or from a list in the model's order."""
    if isinstance(values, Mapping):
        found = dict(values)
    else:
        listed = list(values if values is not None else ())
        if len(listed) != len(names):
            raise ObservationError(
                f"{what} holds {len(listed)} tensors but the model has {len(names)}; "
                "give them in the model's own order."
            )
        found = dict(zip(names, listed, strict=True))
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise ObservationError(
                f"{what}[{name!r}] is a {type(value).__name__}; give tensors."
            )
    return found
