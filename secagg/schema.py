"""Named tensors to one flat float32 vector and back.

``flatten`` takes what frameworks call a state dict: numpy arrays or torch tensors of a
floating type, on any device.  Torch is never imported: tensors are recognised by what
they can do, and restored by a tensor of the same kind.  Integer tensors (counters,
indices) are refused, because their mean is not one of them; name them in ``skip`` to
keep the caller's own.  This module does not clip and does not look at values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.errors import ParameterError


@runtime_checkable
class TensorLike(Protocol):
    """What this module uses of a torch tensor."""

    @property
    def dtype(self) -> object:
        """Element type; prints like ``torch.float32``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    def is_floating_point(self) -> bool:
        """Tell whether elements are floats."""

    def detach(self) -> TensorLike:
        """Return the values without gradients."""

    def clone(self) -> TensorLike:
        """Return a copy."""

    def float(self) -> TensorLike:
        """Return the values as float32."""

    def cpu(self) -> TensorLike:
        """Return the values in the memory of the host."""

    def numpy(self) -> NDArray[np.float32]:
        """Return the values as an array."""

    def new_empty(self, size: int) -> TensorLike:
        """Return an uninitialised tensor of this dtype and device."""

    def new_tensor(self, values: NDArray[np.generic]) -> TensorLike:
        """Return a tensor of this dtype and device."""


Tensor: TypeAlias = NDArray[np.generic] | TensorLike


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor's place in the flat vector."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    like: Tensor = field(repr=False)  # empty; carries kind, dtype and device

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """Names, shapes and types behind a flat vector, in its order."""

    order: tuple[str, ...]
    entries: tuple[Entry, ...]
    skipped: Mapping[str, Tensor] = field(repr=False)

    @property
    def length(self) -> int:
        """Values in the flat vector."""
        return sum(entry.size for entry in self.entries)

    def digest(self) -> bytes:
        """Hash names, shapes and types: equal for all clients of one sum.

        Put it into ``context`` so that different models never add up.
        """
        parts = [
            usage.join(
                entry.name.encode(), repr(entry.shape).encode(), entry.dtype.encode()
            )
            for entry in self.entries
        ]
        return usage.digest(usage.TAG_SCHEMA, *parts)

    def restore(
        self, vector: NDArray[np.float32] | NDArray[np.float64]
    ) -> dict[str, Tensor]:
        """Return the tensors of a flat vector, in the kind and dtype that were given.

        Tensors come back on the device that they came from.  Skipped ones come back as
        they were; the order of names is kept.

        Raises:
            ParameterError: The vector is not floating or has the wrong shape (caller).
        """
        if not isinstance(vector, np.ndarray) or vector.dtype.kind != "f":
            raise ParameterError(
                "vector must be a floating numpy array, for example the mean of a "
                "round.",
                argument="vector",
            )
        if vector.shape != (self.length,):
            raise ParameterError(
                f"vector has shape {vector.shape}, the schema describes "
                f"({self.length},); restore what was summed under this schema.",
                argument="vector",
            )
        restored = dict(self.skipped)
        for entry in self.entries:
            part = vector[entry.offset : entry.offset + entry.size]
            restored[entry.name] = _like(entry.like, part.reshape(entry.shape))
        return {name: restored[name] for name in self.order}


def flatten(
    state: Mapping[str, Tensor], *, skip: Sequence[str] = ()
) -> tuple[NDArray[np.float32], Schema]:
    """Concatenate named tensors into one float32 vector.

    ``schema.restore(vector)`` is the inverse: exact in names, shapes and types, and in
    the values of float32, float16 and bfloat16; float64 is rounded to float32.

    Args:
        state: Floating tensors by name.
        skip: Patterns (as in ``fnmatch``) of names that stay out of the vector.

    Returns:
        The vector, shape (length,), in the order of ``state``, and its schema.

    Raises:
        ParameterError: An entry is not a dense floating tensor, nothing is left,
            or ``skip`` is no list (caller).
    """
    if isinstance(skip, str):  # its letters would be the patterns
        raise ParameterError(
            f"skip={skip!r} must be a list of patterns; pass [{skip!r}].",
            argument="skip",
        )
    parts: list[NDArray[np.float32]] = []
    entries: list[Entry] = []
    skipped: dict[str, Tensor] = {}
    offset = 0
    for name, tensor in state.items():
        if any(fnmatchcase(name, pattern) for pattern in skip):
            skipped[name] = _copy(tensor)
            continue
        values, dtype, like = _read(name, tensor)
        entries.append(Entry(name, values.shape, dtype, offset, like))
        parts.append(values.reshape(-1))
        offset += values.size
    if offset == 0:
        raise ParameterError(
            "state holds no value to sum; check the patterns in skip.",
            argument="state",
        )
    return np.concatenate(parts), Schema(tuple(state), tuple(entries), skipped)


def _read(name: str, tensor: Tensor) -> tuple[NDArray[np.float32], str, Tensor]:
    """Return values, dtype name and an empty tensor of the same kind."""
    if isinstance(tensor, TensorLike):
        dtype = str(tensor.dtype).rpartition(".")[2]
        if not tensor.is_floating_point():
            raise _not_floating(name, dtype)
        plain = tensor.detach()
        try:
            values = plain.cpu().float().numpy()
        except (TypeError, RuntimeError) as error:  # sparse, or without storage
            raise ParameterError(
                f"tensor {name!r} cannot be read as a dense array; convert it, or pass "
                f"skip=[{name!r}].",
                argument="state",
            ) from error
        return values, dtype, plain.new_empty(0)
    array = np.asarray(tensor)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise _not_floating(name, str(array.dtype))
    with np.errstate(over="ignore"):  # what becomes infinite is refused when offered
        values = array.astype(np.float32)
    return values, str(array.dtype), np.empty(0, array.dtype)


def _not_floating(name: str, dtype: str) -> ParameterError:
    return ParameterError(
        f"tensor {name!r} has dtype {dtype}, which has no mean of its own; convert it "
        f"to a float or pass skip=[{name!r}].",
        argument="state",
    )


def _copy(tensor: Tensor) -> Tensor:
    if isinstance(tensor, TensorLike):
        return tensor.detach().clone()
    return np.array(tensor)


def _like(like: Tensor, values: NDArray[np.float32] | NDArray[np.float64]) -> Tensor:
    if isinstance(like, TensorLike):
        return like.new_tensor(values.copy(order="C"))
    return values.astype(like.dtype)
