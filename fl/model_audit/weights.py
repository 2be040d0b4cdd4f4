"""Read the parameters of a model that was trained elsewhere, and no code with them.

    .pt .pth .ckpt .bin   torch, by `weights_only` alone: more than tensors is refused
    .safetensors          by the package safetensors, where it is installed
    .npz                  one array a tensor, named as in the state dict; or `arr_0`,
                          `arr_1`, ... in its order, as Flower's servers save them; or
                          `parameters`, one vector, as runs of ours keep their models

A pickle can run anything, so no other file of one is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attacks import AttackError
from attacks.filling import filled, persistent_buffers
from attacks.plain_npz import read as read_npz
from fl.errors import ModelError
from fl.models import load_vector, parameter_count

TORCH = (".pt", ".pth", ".ckpt", ".bin")
SAFETENSORS, NPZ = ".safetensors", ".npz"
KINDS = (*TORCH, SAFETENSORS, NPZ)
# What wrappers put before every name: DataParallel, Opacus, torch.compile.
PREFIXES = ("module.", "_module.", "_orig_mod.")
FLAT, NUMBERED = "parameters", "arr_"


def with_weights(path: Path, architecture: nn.Module) -> nn.Module:
    """Return a copy of the architecture with the file's numbers in it, in eval mode.

    Guarantee: no code of the file is run, and every tensor of the model is set from
    the file, none left as it was.

    Args:
        path: the file; its ending says what it is.
        architecture: of the same model.

    Raises:
        ModelError: the file cannot be read, holds more than tensors, or is of another
            model.
    """
    tensors = read(path)
    if tensors.keys() == {FLAT} and tensors[FLAT].dim() == 1:
        return _from_vector(path, tensors[FLAT], architecture)
    tensors = _named(path, tensors, architecture)
    own = set(persistent_buffers(architecture))
    try:
        return filled(
            architecture,
            {name: value for name, value in tensors.items() if name not in own},
            {name: value for name, value in tensors.items() if name in own},
            where=path.name,
        ).eval()
    except AttackError as error:
        raise ModelError(str(error)) from error


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        ModelError: no such file, another kind, or more than tensors in it.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise ModelError(
            f"{path.name} is of no kind that can be read without running code; give "
            f"one of {', '.join(KINDS)}, or the model as package.module:function."
        )
    if not path.is_file():
        raise ModelError(f"no file {path}; give the file of the model's parameters.")
    if kind == NPZ:
        try:
            arrays = read_npz(path)
        except AttackError as error:
            raise ModelError(str(error)) from error
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    return _safetensors(path) if kind == SAFETENSORS else _torch(path)


def _torch(path: Path) -> dict[str, Tensor]:
    try:
        found: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises whatever a foreign file causes
        raise ModelError(
            f"{path.name} is damaged or holds more than tensors, which could run code "
            "when read; save model.state_dict() by torch.save."
        ) from error
    tensors = _state_dict(found)
    if tensors is None:
        raise ModelError(
            f"{path.name} holds no state dict, or several; save model.state_dict() by "
            "torch.save."
        )
    return tensors


def _state_dict(found: object) -> dict[str, Tensor] | None:
    """Return the mapping of tensors, or the only one inside a checkpoint."""
    if not isinstance(found, Mapping):
        return None
    if found and all(isinstance(one, Tensor) for one in found.values()):
        return {str(name): value for name, value in found.items()}
    inside = [_state_dict(one) for one in found.values() if isinstance(one, Mapping)]
    dicts = [one for one in inside if one]
    return dicts[0] if len(dicts) == 1 else None


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        reader = importlib.import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{path.name} needs the package safetensors, which is not installed; run "
            "pip install safetensors, or save the state dict by torch.save."
        ) from error
    try:
        tensors: dict[str, Tensor] = reader.load_file(path)
    except Exception as error:  # the reader has errors of its own, and OSError
        raise ModelError(
            f"{path.name} is no intact .safetensors file; save it again."
        ) from error
    return tensors


def _named(
    path: Path, tensors: Mapping[str, Tensor], architecture: nn.Module
) -> dict[str, Tensor]:
    """Give tensors the architecture's own names."""
    state = architecture.state_dict()
    numbered = [f"{NUMBERED}{i}" for i in range(len(tensors))]
    if set(numbered) == tensors.keys():
        if len(tensors) != len(state):
            raise ModelError(
                f"{path.name} holds {len(tensors)} arrays but the model has "
                f"{len(state)} tensors; give the architecture that was trained."
            )
        # NumPy has no scalars in a list of arrays: a counter comes back as (1,).
        return {
            name: tensors[key].reshape(want.shape)
            if tensors[key].numel() == want.numel() == 1
            else tensors[key]
            for key, (name, want) in zip(numbered, state.items(), strict=True)
        }
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return {name[len(prefix) :]: one for name, one in tensors.items()}
    return dict(tensors)


def _from_vector(path: Path, vector: Tensor, architecture: nn.Module) -> nn.Module:
    model = filled(
        architecture,
        dict(architecture.named_parameters()),
        persistent_buffers(architecture),
        where=path.name,
    )
    wanted = parameter_count(model)
    if len(vector) != wanted or persistent_buffers(model):
        raise ModelError(
            f"{path.name} holds {len(vector)} parameters but the model has {wanted}; "
            "give the architecture that was trained."
        )
    load_vector(model, vector.numpy().astype(np.float32))
    return model.eval()
