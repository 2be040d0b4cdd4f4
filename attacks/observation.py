"""What one adversary saw, as a value: the typed threat model of every attack.

An `Observation` holds what crossed the wire and what is public; it has no field for
the truth, so no attack can select its answer by it. `require` hands an attack a copy
in which everything that it did not declare is withheld. Who fills observations from a
real run is not decided here.

The loss of this slice is softmax cross-entropy, mean over the records of a step. Where
records are sequences of tokens and the model answers at every position, it is the mean
over records and positions: a position's class is the next token, and `labels` holds
what follows each record.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attacks.errors import MissingKnowledge, ObservationError, ParameterError
from attacks.fitting import check_gradient, check_known, check_statistics

WITHHELD = frozenset(
    {
        "gradient",
        "batch_size",
        "steps",
        "labels",
        "value_range",
        "lr",
        "momentum",
        "epochs",
        "batch_statistics",
    }
)
"""Fields that an attack sees only if it declares them; the rest is public."""


class Adversary(StrEnum):
    """Who is looking; the table of section 5 of the design says what each sees."""

    SERVER = "server"
    SERVER_PLUS = "server+A"
    CLIENT = "client"
    OUTSIDER = "outsider"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What one adversary saw of one update.

    Guarantee: the fields agree with one another (names, shapes, counts), and none of
    them is the training data.

    Args:
        adversary: who saw it.
        view: what it is, in words ("one client's update", "sum of 10 updates").
        model: the architecture with the released parameters that the client started
            from; attacks copy it and never write to it. Its training or eval mode is
            the mode the client trained in.
        gradient: by parameter name, the mean gradient over the observed records and
            steps, `(before - after) / (lr * steps)`; None where only models are seen.
            A positive factor (clipping) is allowed; a sign or an Adam direction is
            not a gradient.
        batch_size: records per step and client, if known.
        steps: local steps behind the update, if known.
        labels: the classes of the `batch_size * clients_summed` records of a step,
            if known, int64; or those of all `records * steps / epochs` records of an
            epoch in the order of its steps, where steps and epochs are known.
        input_shape: shape of one record, without the batch axis.
        classes: number of classes = width of the model's output.
        value_range: lowest and highest value of an input entry, if known.
        clients_summed: how many clients' updates are inside this one.
        lr: learning rate of the local steps, if known.
        momentum: momentum of the local steps (SGD, from zero each round), if known;
            `gradient` is then a weighted sum of the steps' gradients.
        epochs: how many times the local steps went over the same records, if known.
        tokens: size of the vocabulary if records are sequences of token ids, int64
            (length,) with `input_shape=(length,)`; None if records are numbers.
        known: by parameter name, which entries of `gradient` were seen, bool; the
            others are set to zero, and no attack may take them for a gradient of zero.
            None where all were.
        batch_statistics: by name of each batch norm module, the mean and the variance
            (with n - 1, as its buffers keep it) of the batch at its input, each
            (channels,), if known; from buffers before and after a step they follow
            (`attacks.inversion.batchnorm`).

    Raises:
        ObservationError: the caller's fields contradict each other.
    """

    adversary: Adversary
    view: str
    model: nn.Module = field(repr=False)
    gradient: Mapping[str, Tensor] | None = field(repr=False)
    batch_size: int | None
    steps: int | None
    labels: Tensor | None = field(repr=False)
    input_shape: tuple[int, ...]
    classes: int
    value_range: tuple[float, float] | None
    clients_summed: int = 1
    lr: float | None = None
    momentum: float | None = None
    epochs: int | None = None
    tokens: int | None = None
    known: Mapping[str, Tensor] | None = field(default=None, repr=False)
    batch_statistics: Mapping[str, tuple[Tensor, Tensor]] | None = field(
        default=None, repr=False
    )

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "clients_summed", "epochs"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ObservationError(f"{name}={count} must be at least 1.")
        if self.classes < 2:
            raise ObservationError(f"classes={self.classes} must be at least 2.")
        if not self.input_shape or min(self.input_shape) < 1:
            raise ObservationError(
                f"input_shape={self.input_shape} must hold positive sizes."
            )
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ObservationError(f"lr={self.lr} must be positive.")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ObservationError(f"momentum={self.momentum} must be in [0, 1).")
        if self.tokens is not None and (self.tokens < 2 or len(self.input_shape) > 1):
            raise ObservationError(
                f"tokens={self.tokens} needs a vocabulary of at least 2 and records "
                f"of shape (length,), not {self.input_shape}."
            )
        if self.value_range is not None and not (
            self.value_range[0] < self.value_range[1]
        ):
            raise ObservationError(
                f"value_range={self.value_range} must be (low, high) with low < high."
            )
        self._check_labels()
        if self.batch_statistics is not None:
            check_statistics(self.model, self.batch_statistics)
        if self.gradient is not None:
            check_gradient(self.model, self.gradient)
            detached = {name: g.detach() for name, g in self.gradient.items()}
            if self.known is not None:
                check_known(self.known, detached)
                detached = {
                    name: torch.where(self.known[name], g, torch.zeros_like(g))
                    for name, g in detached.items()
                }
            object.__setattr__(self, "gradient", MappingProxyType(detached))

    @property
    def records(self) -> int | None:
        """Records inside one step of this observation, or None if not known."""
        if self.batch_size is None:
            return None
        return self.batch_size * self.clients_summed

    @property
    def of_an_epoch(self) -> int | None:
        """Records inside one epoch of full local steps, or None if not known."""
        if self.records is None or self.steps is None or self.epochs is None:
            return None
        whole, rest = divmod(self.records * self.steps, self.epochs)
        return None if rest else whole

    def _check_labels(self) -> None:
        if self.labels is None:
            return
        sizes = {(self.records,), (self.of_an_epoch,)} - {(None,)}
        if self.records is not None and tuple(self.labels.shape) not in sizes:
            raise ObservationError(
                f"labels have shape {tuple(self.labels.shape)} but a step holds "
                f"{self.records} records; give one label per record."
            )
        if self.labels.is_floating_point() or self.labels.numel() == 0:
            raise ObservationError("labels must be a non-empty integer tensor.")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= self.classes:
            raise ObservationError(
                f"labels must lie in 0..{self.classes - 1}, one per record."
            )


def require(
    observation: Observation,
    needs: frozenset[str],
    *,
    uses: frozenset[str] = frozenset(),
    attack: str,
) -> Observation:
    """Hand an attack what it declared and nothing more.

    Guarantee: in the result each field of `WITHHELD` that is neither in
    `needs` nor in `uses` is None, and no field in `needs` is None.

    Args:
        observation: what the adversary saw.
        needs: fields without which the attack cannot run.
        uses: fields that the attack reads when they are known.
        attack: its name, for the error.

    Returns:
        A copy of `observation` with the undeclared fields withheld.

    Raises:
        MissingKnowledge: a needed field is unknown to this adversary.
        ParameterError: the attack declares a field that does not exist, or is not
            made for sequences of tokens or for gradients seen in part.
    """
    known = {each.name for each in fields(Observation)}
    for name in sorted(needs | uses):
        if name not in known:
            raise ParameterError(
                f"Attack {attack!r} declares {name!r}, which is not a field of "
                f"Observation; use one of {sorted(known)}."
            )
    for name in sorted(needs):
        if getattr(observation, name) is None:
            raise MissingKnowledge(attack, name)
    granted = needs | uses
    if observation.tokens is not None and "tokens" not in granted:
        raise ParameterError(
            f"Attack {attack!r} rebuilds numbers, but these records are sequences of "
            "token ids; use DAGER."
        )
    if observation.known is not None and "known" not in granted:
        raise ParameterError(
            f"Attack {attack!r} reads whole gradients, and of this one a part was not "
            "seen; use LinearInversion, DLG or CosineTV."
        )
    withheld: dict[str, Any] = dict.fromkeys(WITHHELD - granted)
    labels, step = observation.labels, observation.records
    if labels is not None and step is not None and len(labels) != step:
        # Labels of a whole epoch mean nothing to who does not know its steps.
        if not {"steps", "epochs"} <= granted:
            if "labels" in needs:
                raise MissingKnowledge(attack, "labels")
            withheld["labels"] = None
    return replace(observation, **withheld)
