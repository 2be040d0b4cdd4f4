"""What is audited: anything that answers records with scores of classes.

A torch module, a fitted estimator of scikit-learn, or any function from records to
probabilities or logits. All of them become one `Subject`, whose answers are logits.
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

from fl.errors import DataError, ModelError, UserError
from fl.local import predict_logits
from fl.model_audit.weights import with_weights
from fl.models import architecture, parameter_count
from fl.settings import ModelConfig
from fl.usercode import find, running

Answer = Callable[[NDArray[Any]], object]
Floats = NDArray[np.float64]
# Records asked about at once; bounds memory, changes no result.
CHUNK = 2048
# Probabilities below this count as this: an estimator that says 0 is not that sure.
LEAST_PROBABILITY = 1e-12
_SUMS_TO_ONE = 1e-3


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


def logits(subject: Subject, features: NDArray[Any]) -> Floats:
    """Ask the model about every record.

    Returns:
        (N, classes) float64, finite: logits, or logarithms of probabilities.

    Raises:
        ModelError: it cannot take the records, or answers with something else.
    """
    parts = []
    for at in range(0, len(features), CHUNK):
        chunk = features[at : at + CHUNK]
        try:
            said = subject.answer(chunk)
        except UserError:
            raise
        except Exception as error:  # somebody else's model may raise anything
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"{subject.name} cannot take records of shape {chunk.shape[1:]}, "
                f"{chunk.dtype} ({first}); give records as the model was fed."
            ) from error
        parts.append(_plain(said, len(chunk), subject.name))
    if len({part.shape[1:] for part in parts}) > 1:
        raise ModelError(f"{subject.name} answers with varying numbers of classes.")
    return as_logits(np.concatenate(parts), subject.name)


def as_logits(said: Floats, name: str) -> Floats:
    """Turn probabilities into their logarithms, and one column into two.

    Rows that are never negative and add up to one are probabilities, as is one column
    within 0 and 1; everything else is taken for logits.

    Raises:
        ModelError: not finite, or fewer than two classes.
    """
    if not np.isfinite(said).all():
        raise ModelError(f"{name} answers with NaN or infinity; correct the model.")
    if said.ndim == 1 or said.shape[1] == 1:
        one = said.reshape(-1)
        if 0 <= one.min() and one.max() <= 1:
            said = np.stack([1 - one, one], axis=1)
        else:
            said = np.stack([np.zeros_like(one), one], axis=1)
    sums = said.sum(axis=1)
    if said.min() >= 0 and np.abs(sums - 1).max() <= _SUMS_TO_ONE:
        return np.asarray(np.log(np.maximum(said, LEAST_PROBABILITY)))
    return said


def places(
    labels: NDArray[np.generic], classes: int, names: tuple[object, ...] | None
) -> NDArray[np.int64]:
    """Say which column of the answers each label means.

    Whole numbers from 0 are columns as they are; others, and text, are matched with the
    names that the model has, or else stand for the columns in sorted order.

    Raises:
        DataError: a label that the model has no column for.
    """
    distinct, inverse = np.unique(labels, return_inverse=True)
    of: NDArray[np.int64] = inverse.astype(np.int64)
    if names is not None:
        known = {_word(name): column for column, name in enumerate(names)}
        columns = [known.get(_word(one)) for one in distinct.tolist()]
        if None in columns or len(known) != classes:
            raise DataError(
                f"a label is none of the {classes} classes that the model knows; give "
                "the labels as it was trained with them."
            )
        matched: NDArray[np.int64] = np.array(columns, dtype=np.int64)[of]
        return matched
    numbers = distinct.dtype.kind in "iu"
    if numbers and 0 <= distinct[0] and distinct[-1] < classes:
        plain: NDArray[np.int64] = labels.astype(np.int64)
        return plain
    if len(distinct) != classes:
        raise DataError(
            f"the records have {len(distinct)} different labels and the model "
            f"{classes} classes, so nobody can say which is which; number the labels "
            "0, 1, ... as the model's outputs."
        )
    return of


def _word(name: object) -> str:
    text = str(name)
    return text[:-2] if text.endswith(".0") else text


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


def _plain(said: object, count: int, name: str) -> Floats:
    if isinstance(said, torch.Tensor):
        said = said.detach().cpu().numpy()
    try:
        found = np.asarray(said, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} answers with a {type(said).__name__}; return an array of "
            "probabilities or logits."
        ) from error
    if found.ndim not in (1, 2) or len(found) != count:
        raise ModelError(
            f"{name} answers {count} records with shape {found.shape}; return one row "
            "of probabilities or logits for each."
        )
    return found
