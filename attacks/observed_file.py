"""A saved observation: one `.npz` file of plain numbers, from any framework.

The file holds the JSON header (`attacks.observed_header`) as bytes, and tensors:

    observation        the header, uint8
    parameter/NAME     of the released model, every one
    buffer/NAME        of the released model, every one (BatchNorm statistics)
    gradient/NAME      as in `attacks.Observation`; none where only models are seen
    known/NAME         bool, which entries of the gradient were seen; all or none
    batch_mean/NAME    of each batch norm whose batch is known, by its module's name
    batch_variance/NAME  of the same, with n - 1
    labels             int64, if they are known: of a step, or of an epoch

Parameters, buffers and the model's mode are in the file because an update and a model
that do not belong together give nothing, and nobody can tell why. No code is in it: the
architecture is handed to `load_observation` by the caller.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attacks.errors import ObservationError
from attacks.filling import filled, persistent_buffers
from attacks.observation import Adversary, Observation
from attacks.observed_header import Header, from_bytes, to_bytes
from attacks.plain_npz import Array, read, write

_HEADER, _LABELS = "observation", "labels"
_GROUPS = ("parameter", "buffer", "gradient", "known", "batch_mean", "batch_variance")
_WIDE = {torch.bfloat16: torch.float32}  # NumPy has no bfloat16; float32 holds it all


def save_observation(observation: Observation, path: str | Path) -> None:
    """Write an observation into a new file of mode 0600.

    Guarantee: `load_observation` with the same architecture gives it back, bit for
    bit (bfloat16 comes back as equal float32). The file is as sensitive as the
    update: whoever has it can attack it.

    Raises:
        ObservationError: the file exists or cannot be written (caller).
    """
    model = observation.model
    switched = tuple(
        name for name, part in model.named_modules() if part.training != model.training
    )
    header = Header(
        training=model.training,
        switched=switched,
        input_shape=observation.input_shape,
        classes=observation.classes,
        view=observation.view,
        adversary=observation.adversary.value,
        batch_size=observation.batch_size,
        steps=observation.steps,
        value_range=observation.value_range,
        clients_summed=observation.clients_summed,
        lr=observation.lr,
        momentum=observation.momentum,
        epochs=observation.epochs,
        tokens=observation.tokens,
    )
    arrays = {_HEADER: np.frombuffer(to_bytes(header), dtype=np.uint8)}
    statistics = observation.batch_statistics or {}
    groups: tuple[Iterable[tuple[str, Tensor]], ...] = (
        model.named_parameters(),
        persistent_buffers(model).items(),
        (observation.gradient or {}).items(),
        (observation.known or {}).items(),
        ((name, mean) for name, (mean, _) in statistics.items()),
        ((name, variance) for name, (_, variance) in statistics.items()),
    )
    for group, tensors in zip(_GROUPS, groups, strict=True):
        arrays |= {f"{group}/{name}": _array(tensor) for name, tensor in tensors}
    if observation.labels is not None:
        arrays[_LABELS] = _array(observation.labels.to(torch.int64))
    write(Path(path), arrays)


def read_header(path: str | Path) -> Header:
    """Read the public facts of a saved observation, to build its model from.

    Raises:
        ObservationError: the file cannot be read or is not one (caller).
    """
    return _header(Path(path), read(Path(path)))


def load_observation(path: str | Path, model: nn.Module) -> Observation:
    """Read a saved observation.

    Args:
        path: the file.
        model: the architecture; a copy gets the file's parameters, buffers and mode.

    Returns:
        The observation; its gradient has the type of the file.

    Raises:
        ObservationError: the file is not one, or does not fit the model (caller);
            the first tensor that is missing, strange or of another shape is named.
    """
    path = Path(path)
    arrays = read(path)
    header = _header(path, arrays)
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
    labels = None
    for name, array in arrays.items():
        group, _, tensor = name.partition("/")
        if group in groups and tensor:
            groups[group][tensor] = torch.from_numpy(array)
        elif name == _LABELS:
            labels = _as_labels(array, path)
        elif name != _HEADER:
            raise ObservationError(
                f"{path}: unknown array {name!r}; the groups are "
                f"{', '.join(f'{one}/NAME' for one in _GROUPS)}."
            )
    twin = filled(model, groups["parameter"], groups["buffer"], where=str(path))
    _set_mode(twin, header, path)
    return Observation(
        adversary=Adversary(header.adversary),
        view=header.view,
        model=twin,
        gradient=groups["gradient"] or None,
        batch_size=header.batch_size,
        steps=header.steps,
        labels=labels,
        input_shape=header.input_shape,
        classes=header.classes,
        value_range=header.value_range,
        clients_summed=header.clients_summed,
        lr=header.lr,
        momentum=header.momentum,
        epochs=header.epochs,
        tokens=header.tokens,
        known=groups["known"] or None,
        batch_statistics=_statistics(groups, path),
    )


def _statistics(
    groups: Mapping[str, Mapping[str, Tensor]], path: Path
) -> dict[str, tuple[Tensor, Tensor]] | None:
    means, variances = groups["batch_mean"], groups["batch_variance"]
    if means.keys() != variances.keys():
        raise ObservationError(
            f"{path}: batch_mean and batch_variance are of different batch norms; "
            "write both of each."
        )
    return {name: (means[name], variances[name]) for name in means} or None


def _header(path: Path, arrays: Mapping[str, Array]) -> Header:
    raw = arrays.get(_HEADER)
    if raw is None or raw.dtype != np.uint8 or raw.ndim != 1:
        raise ObservationError(
            f"{path} has no uint8 array {_HEADER!r} with the JSON header; write it as "
            "docs/attacks.md says."
        )
    return from_bytes(raw.tobytes(), where=str(path))


def _as_labels(array: Array, path: Path) -> Tensor:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ObservationError(f"{path}: labels must be integers in one dimension.")
    return torch.from_numpy(array.astype(np.int64))


def _array(tensor: Tensor) -> Array:
    plain = tensor.detach().cpu()
    array: Array = plain.to(_WIDE.get(plain.dtype, plain.dtype)).numpy()
    return array


def _set_mode(model: nn.Module, header: Header, path: Path) -> None:
    model.train(header.training)
    parts = dict(model.named_modules())
    for name in header.switched:
        if name not in parts or not name:
            raise ObservationError(
                f"{path}: switched names the module {name!r}, which the model does "
                "not have."
            )
        parts[name].training = not header.training
