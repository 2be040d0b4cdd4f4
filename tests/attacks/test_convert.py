"""Updates of other tools give the gradient that the client computed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks import (
    Certificate,
    LinearInversion,
    Observation,
    ObservationError,
    from_breaching,
    from_state_dicts,
)

SHAPE, CLASSES, LR = (6,), 3, 0.5


def _model(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    middle = [nn.BatchNorm1d(5)] if norm else []
    layers = [nn.Linear(6, 5), *middle, nn.ReLU(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double().eval()


def _slopes(model: nn.Module, record: Tensor) -> list[Tensor]:
    loss = functional.cross_entropy(model(record), torch.tensor([2]))
    return list(torch.autograd.grad(loss, list(model.parameters())))


def _record() -> Tensor:
    return torch.rand(1, 6, generator=torch.Generator().manual_seed(0)).double()


def _recovers(observation: Observation) -> bool:
    result = LinearInversion().run(observation, seed=0)
    return result.certificate is Certificate.CERTIFIED and torch.allclose(
        result.inputs, _record(), atol=1e-8
    )


def _stepped(model: nn.Module) -> nn.Module:
    after, slopes = copy.deepcopy(model), _slopes(model, _record())
    with torch.no_grad():
        for parameter, slope in zip(after.parameters(), slopes, strict=True):
            parameter -= LR * slope
    return after


def test_two_state_dicts_give_the_clients_gradient_and_the_record() -> None:
    model = _model()
    observation = from_state_dicts(
        model.state_dict(),
        _stepped(model).state_dict(),
        copy.deepcopy(model),
        lr=LR,
        steps=1,
        input_shape=SHAPE,
        classes=CLASSES,
        batch_size=1,
    )
    assert observation.model.training
    assert observation.gradient is not None
    for value, slope in zip(
        observation.gradient.values(), _slopes(model, _record()), strict=True
    ):
        assert torch.allclose(value, slope, atol=1e-12)
    assert _recovers(observation)


def test_buffers_before_and_after_one_step_tell_its_batch() -> None:
    model, records = _model(norm=True).train(), torch.rand(4, 6).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(records)
    after, inner = model.state_dict(), model.get_submodule("0")(records)
    say: dict[str, Any] = {"lr": LR, "input_shape": SHAPE, "classes": CLASSES}
    say |= {"batch_size": 4, "labels": torch.tensor([0, 1, 2, 2])}
    seen = from_state_dicts(before, after, model, steps=1, **say)
    assert seen.batch_statistics is not None
    mean, variance = seen.batch_statistics["1"]
    assert torch.allclose(mean, inner.mean(dim=0))
    assert torch.allclose(variance, inner.var(dim=0))
    assert seen.labels is not None and len(seen.labels) == 4
    # Several steps leave a weighted mean of theirs; in evaluation nothing moved.
    for more in ({"steps": 2}, {"steps": 1, "training": False}):
        untold = from_state_dicts(before, after, model, **say, **more)
        assert untold.batch_statistics is None
    alone = {name: value for name, value in after.items() if "running" not in name}
    assert (
        from_state_dicts(before, alone, model, steps=1, **say).batch_statistics is None
    )


def test_state_dicts_must_be_whole() -> None:
    model = _model(norm=True)
    before, after = model.state_dict(), model.state_dict()
    say: dict[str, Any] = {"lr": LR, "steps": 1, "input_shape": SHAPE, "classes": 3}
    del before["1.running_var"]
    with pytest.raises(ObservationError, match=r"1\.running_var"):
        from_state_dicts(before, after, model, **say)
    with pytest.raises(ObservationError, match=r"after lacks '0\.weight'"):
        from_state_dicts(model.state_dict(), {}, model, **say)
    with pytest.raises(ObservationError, match="lr=0"):
        from_state_dicts(after, after, model, **(say | {"lr": 0}))


def _payload(model: nn.Module) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    server = {
        "parameters": list(model.parameters()),
        "buffers": list(model.buffers()) or None,
        "metadata": {},
    }
    shared = {
        "gradients": _slopes(model, _record()),
        "buffers": None,
        "metadata": {
            "num_data_points": 1,
            "labels": torch.tensor([2]),
            "local_hyperparams": None,
        },
    }
    return [server], [shared]


def test_a_breaching_payload_gives_the_record() -> None:
    server, shared = _payload(_model())
    (observation,) = from_breaching(
        server, shared, _model(), input_shape=SHAPE, classes=CLASSES
    )
    assert _recovers(observation)
    assert observation.labels is None  # a server does not have them
    (told,) = from_breaching(
        server, shared, _model(), input_shape=SHAPE, classes=CLASSES, with_labels=True
    )
    assert told.labels is not None and told.labels.tolist() == [2]


def test_a_payload_of_local_steps_is_a_change_and_becomes_a_gradient() -> None:
    model = _model()
    server, shared = _payload(model)
    after = _stepped(model)
    shared[0]["gradients"] = [
        new.detach() - old.detach()
        for new, old in zip(after.parameters(), model.parameters(), strict=True)
    ]
    local = {"lr": LR, "steps": 1, "data_per_step": 1, "labels": []}
    shared[0]["metadata"]["local_hyperparams"] = local
    (observation,) = from_breaching(
        server, shared, model, input_shape=SHAPE, classes=CLASSES
    )
    assert _recovers(observation)
    del local["lr"]
    with pytest.raises(ObservationError, match="lr"):
        from_breaching(server, shared, model, input_shape=SHAPE, classes=CLASSES)


def test_a_payload_of_local_steps_says_epochs_and_their_labels() -> None:
    model = _model()
    server, shared = _payload(model)
    labels = [torch.tensor([0, 1]), torch.tensor([2, 1])]
    shared[0]["metadata"] |= {
        "num_data_points": 4,
        "labels": None,
        "local_hyperparams": {
            "lr": LR,
            "steps": 4,
            "data_per_step": 2,
            "labels": [*labels, *labels],
        },
    }
    say: dict[str, Any] = {"input_shape": SHAPE, "classes": CLASSES}
    (seen,) = from_breaching(server, shared, model, with_labels=True, **say)
    assert (seen.epochs, seen.momentum, seen.of_an_epoch) == (2, 0.0, 4)
    assert seen.labels is not None and seen.labels.tolist() == [0, 1, 2, 1]
    (blind,) = from_breaching(server, shared, model, **say)
    assert blind.labels is None
    shared[0]["metadata"]["num_data_points"] = 3  # a part of a pass
    (partly,) = from_breaching(server, shared, model, **say)
    assert partly.epochs is None


def test_the_mode_follows_the_buffers_and_their_absence_is_an_error() -> None:
    model = _model(norm=True)
    server, shared = _payload(model)
    say: dict[str, Any] = {"input_shape": SHAPE, "classes": CLASSES}
    (evaluated,) = from_breaching(server, shared, model, **say)
    assert not evaluated.model.training
    server[0]["buffers"] = None
    (trained,) = from_breaching(server, shared, model, **say)
    assert trained.model.training
    with pytest.raises(ObservationError, match=r"1\.running_mean"):
        from_breaching(server, shared, model, training=False, **say)


def test_payloads_that_do_not_fit_are_refused() -> None:
    model = _model()
    server, shared = _payload(model)
    say: dict[str, Any] = {"input_shape": SHAPE, "classes": CLASSES}
    with pytest.raises(ObservationError, match="pair"):
        from_breaching(server, [], model, **say)
    shared[0]["gradients"] = shared[0]["gradients"][:-1]
    with pytest.raises(ObservationError, match="own order"):
        from_breaching(server, shared, model, **say)
