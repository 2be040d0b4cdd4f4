"""Each thing that keeps attacks from finding anything is named; a fit update is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from attacks import Adversary, Finding, Observation, Trouble, diagnose


def _model(*extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), *extra, nn.ReLU(), nn.Linear(16, 4))


def _observation(
    model: nn.Module, *, records: int = 1, noise: float = 0.0, **changes: Any
) -> Observation:
    torch.manual_seed(1)
    x, y = torch.rand(records, 20), torch.arange(records) % 4
    loss = functional.cross_entropy(model(x), y)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    gradient = {
        name: value + noise * torch.randn(value.shape)
        for name, value in zip(names, slopes, strict=True)
    }
    facts: dict[str, Any] = {
        "adversary": Adversary.SERVER,
        "view": "one upload",
        "model": model,
        "gradient": gradient,
        "batch_size": records,
        "steps": 1,
        "labels": None,
        "input_shape": (20,),
        "classes": 4,
        "value_range": (0.0, 1.0),
    }
    return Observation(**(facts | changes))


def _kinds(found: tuple[Finding, ...]) -> list[Trouble]:
    return [one.trouble for one in found]


def _scaled(observation: Observation, factor: float) -> Observation:
    gradient = {n: g * factor for n, g in (observation.gradient or {}).items()}
    return replace(observation, gradient=gradient)


@pytest.mark.parametrize("records", [1, 4])
def test_a_fit_update_has_no_findings(records: int) -> None:
    observation = _observation(_model().eval(), records=records)
    assert diagnose(observation) == ()
    assert diagnose(_scaled(observation, 1e-3)) == ()  # clipped: harmless


def test_a_gradient_that_says_nothing_is_fatal() -> None:
    fit = _observation(_model().eval())
    for bad in (
        replace(fit, gradient=None),
        _scaled(fit, 0.0),
        _scaled(fit, float("nan")),
    ):
        (first, *_) = diagnose(bad)
        assert first.fatal and first.trouble is Trouble.GRADIENT


def test_signs_noise_and_turned_signs_are_told_apart() -> None:
    fit = _observation(_model().eval())
    signs = replace(
        fit, gradient={n: g.sign() for n, g in (fit.gradient or {}).items()}
    )
    assert any("one size" in one.sentence for one in diagnose(signs))
    noisy = diagnose(_observation(_model().eval(), noise=0.01))
    assert any("does not add up to zero" in one.sentence for one in noisy)
    assert any("rank" in one.sentence for one in noisy)
    turned = diagnose(_scaled(fit, -1.0))
    assert any("before - after" in one.sentence for one in turned)


def test_unfit_modes_and_buffers_are_named() -> None:
    dropout = diagnose(_observation(_model(nn.Dropout(0.3)).train()))
    assert Trouble.MODE in _kinds(dropout)
    norm = _model(nn.BatchNorm1d(16))
    assert Trouble.MODE in _kinds(diagnose(_observation(norm.train(), records=4)))
    bare = _model(nn.BatchNorm1d(16))
    bare.eval()  # fresh statistics, as if buffers had not been saved
    assert Trouble.BUFFERS in _kinds(diagnose(_observation(bare)))
    norm.eval()  # has seen a batch above
    fit = _observation(norm)
    assert Trouble.BUFFERS not in _kinds(diagnose(fit))
    norm[1].running_var[0] = -1.0  # type: ignore[index,operator]
    (first, *_) = diagnose(fit)
    assert first.fatal and first.trouble is Trouble.BUFFERS


def test_crowds_steps_and_missing_knowledge_are_named() -> None:
    many = diagnose(_observation(_model().eval(), records=40))
    assert sum(one.trouble is Trouble.BATCH for one in many) == 2  # also above rank
    fit = _observation(_model().eval(), records=4)
    changes: dict[Trouble, dict[str, Any]] = {
        Trouble.STEPS: {"steps": 3},
        Trouble.CLIENTS: {"batch_size": 2, "clients_summed": 2},
        Trouble.KNOWLEDGE: {"batch_size": None},
    }
    for trouble, change in changes.items():
        assert trouble in _kinds(diagnose(replace(fit, **change)))


def test_a_wrong_range_and_a_wrong_layer_are_named() -> None:
    fit = _observation(_model().eval(), value_range=(-0.1, 0.2))
    assert _kinds(diagnose(fit)) == [Trouble.RANGE]
    model = nn.Sequential(nn.Linear(20, 16, bias=False), nn.ReLU(), nn.Linear(16, 4))
    assert _kinds(diagnose(_observation(model.eval()))) == [Trouble.LAYER]
