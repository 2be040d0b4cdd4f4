"""What is audited: anything that answers records with scores of classes.

A torch module, a fitted estimator of scikit-learn, or any function from records to
probabilities or logits: all of them become one `Subject`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.errors import ModelError
from fl.local import predict_logits
from fl.model_audit.weights import with_weights
from fl.models import architecture, parameter_count
from fl.settings import ModelConfig
from fl.usercode import find, running

Answer = Callable[[NDArray[Any]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that can be asked.

    Attributes:
        name: for the page.
        answer: records (n, ...) to logits or probabilities, (n, classes) or (n,).
        module: the torch module, where it is one; attacks on updates need it.
        class_names: what its columns mean, where it says so.
        parameters: how many it has, where known.
    """

    name: str
    answer: Answer = field(repr=False)
    module: nn.Module | None = None
    class_names: tuple[object, ...] | None = None
    parameters: int | None = None


def of_object(given: object, name: str = "") -> Subject:
    """Return what a caller gave as a `Subject`.

    Raises:
        ModelError: it answers nothing, or not with scores.
    """
    name = name or type(given).__name__
    if isinstance(given, nn.Module):
        return _of_module(given, name)
    for method in ("predict_proba", "decision_function"):
        ask = getattr(given, method, None)
        if callable(ask):
            classes = getattr(given, "classes_", None)
            return Subject(
                name=name,
                answer=ask,
                class_names=None if classes is None else tuple(np.asarray(classes)),
            )
    if callable(given):
        return Subject(name=getattr(given, "__name__", name), answer=given)
    raise ModelError(
        f"{name}: a {type(given).__name__} cannot be audited; give a torch module, a "
        "fitted estimator with predict_proba, or a function from records to "
        "probabilities or logits."
    )


def from_names(
    model: str | None,
    arch: str | None,
    config: ModelConfig,
    input_shape: tuple[int, ...],
    classes: int,
) -> Subject:
    """Return the model that --model and --arch name.

    Args:
        model: a file of parameters, or package.module:function from records to
            probabilities or logits.
        arch: logreg, mlp, cnn or package.module:Class; without a model, a function
            that is called without arguments and returns what is to be audited.
        config: the sizes of the models that are ours.
        input_shape: of one record.
        classes: of the labels; some classes take it.

    Raises:
        ModelError: what is named cannot be found, made, filled or asked.
    """
    if model is None:
        if arch is None or ":" not in arch:
            raise ModelError(
                "--model is missing; give the file of the parameters, or --arch "
                "package.module:function that returns a fitted model."
            )
        make = find(arch, key="--arch", fault=ModelError)
        with running(arch, key="--arch", fault=ModelError):
            made = make()
        return of_object(made, arch)
    if ":" in model and not Path(model).exists():
        if arch is not None:
            raise ModelError(
                f"--model {model} is a function, so --arch has nothing to fill; leave "
                "one of them out."
            )
        ask = find(model, key="--model", fault=ModelError)
        return Subject(name=model, answer=_guarded(ask, model))
    if arch is None:
        raise ModelError(
            f"--model {model} holds numbers alone; give --arch package.module:Class, "
            "the class of the model."
        )
    path = Path(model)
    try:
        net = architecture(
            config.model_copy(update={"kind": arch}), input_shape, classes
        )
    except ModelError as error:  # it names the key of a configuration
        raise ModelError(str(error).replace("model.kind", "--arch")) from error
    return _of_module(with_weights(path, net), f"{path.name} in {arch}")


def _of_module(module: nn.Module, name: str) -> Subject:
    tensors = [*module.parameters(), *module.buffers()]
    if any(one.device.type != "cpu" for one in tensors):
        raise ModelError(f"{name} is not on the CPU; move it there by .cpu().")
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
    dtype = torch.float64 if kinds == {torch.float64} else torch.float32

    def answer(records: NDArray[Any]) -> NDArray[Any]:
        return predict_logits(module, torch.from_numpy(records).to(dtype))

    return Subject(
        name=name, answer=answer, module=module, parameters=parameter_count(module)
    )


def _guarded(ask: Callable[..., object], spec: str) -> Answer:
    def answer(records: NDArray[Any]) -> object:
        with running(spec, key="--model", fault=ModelError):
            return ask(records)

    return answer
