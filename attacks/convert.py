"""Two state dicts, before and after local training, as an observation.

Nothing is guessed in silence: what they do not say (the mode, above all) is an
argument. Updates of other tools are read in `attacks.payload`.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from attacks.errors import ObservationError, ParameterError
from attacks.filling import filled
from attacks.inversion.batchnorm import statistics_of_buffers
from attacks.observation import Adversary, Observation


def from_state_dicts(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    model: nn.Module,
    *,
    lr: float,
    steps: int,
    input_shape: tuple[int, ...],
    classes: int,
    training: bool = True,
    batch_size: int | None = None,
    momentum: float | None = None,
    epochs: int | None = None,
    value_range: tuple[float, float] | None = None,
    labels: Tensor | None = None,
    clients_summed: int = 1,
    view: str = "one client's update",
) -> Observation:
    """Turn the model before and after local training into an observation.

    The gradient is `(before - after) / (lr * steps)`, exact for SGD without momentum
    or weight decay. Buffers are those of `before`: with them the client started. If
    `after` has them too, and one step was taken in training mode, the statistics of its
    batch follow from both.

    Args:
        before: state dict of the released model.
        after: state dict that the client sent back (its parameters are enough).
        model: the architecture; it is copied, never written to.
        lr: learning rate of the local steps.
        steps: how many there were.
        input_shape: of one record.
        classes: width of the model's output.
        training: whether the client trained in training mode, as most do.
        batch_size: records per step and client, if known.
        momentum: of the local steps, if known.
        epochs: passes over the same records, if known.
        value_range: lowest and highest value of an input entry, if known.
        labels: of the records of a step, or of an epoch in the order of its steps, if
            known: an assumption to be stated, since a server does not have them.
        clients_summed: how many clients' updates are inside.
        view: what it is, in words.

    Raises:
        ObservationError: the state dicts do not fit the model or each other (caller).
    """
    if not lr > 0 or steps < 1:
        raise ObservationError(f"lr={lr} and steps={steps} must be positive.")
    held = {name for name, _ in model.named_buffers()}
    twin = filled(
        model,
        {name: value for name, value in before.items() if name not in held},
        {name: value for name, value in before.items() if name in held},
        where="before",
    ).train(training)
    gradient = {}
    for name, parameter in twin.named_parameters():
        if not parameter.requires_grad:
            continue  # frozen: its change is zero and says nothing
        sent = after.get(name)
        if sent is None or sent.shape != parameter.shape:
            raise ObservationError(
                f"after lacks {name!r} or has it in another shape than before; give "
                "the state dict that the client sent back."
            )
        change = parameter.detach().double() - sent.detach().double()
        gradient[name] = (change / (lr * steps)).to(parameter.dtype)
    return Observation(
        adversary=Adversary.SERVER,
        view=view,
        model=twin,
        gradient=gradient,
        batch_size=batch_size,
        steps=steps,
        labels=labels,
        input_shape=input_shape,
        classes=classes,
        value_range=value_range,
        clients_summed=clients_summed,
        lr=lr,
        momentum=momentum,
        epochs=epochs,
        batch_statistics=(
            _statistics(twin, before, after) if steps == clients_summed == 1 else None
        ),
    )


def _statistics(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Return what both sets of buffers tell of one batch, None if they tell nothing."""
    if not model.training:
        return None
    try:
        return statistics_of_buffers(model, before, after)
    except ParameterError:
        return None  # no batch norm, buffers that were not sent, or none that moved
