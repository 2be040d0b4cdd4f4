from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks import Certificate, LinearInversion, with_random_gradient


def run(observation):
    return LinearInversion().run(observation, seed=0)


@pytest.mark.parametrize("hidden", [(), (64,), (32, 16)])
def test_one_record_is_recovered_exactly_and_certified(net, observe, digits, hidden):
    images, labels = digits
    model = net(hidden=hidden)
    for i in range(10):
        found = run(observe(model, images[i : i + 1], labels[i : i + 1]))
        assert found.certificate is Certificate.CERTIFIED, found.reason
        assert float((found.inputs - images[i : i + 1]).abs().max()) <= 1e-10
        assert found.labels.tolist() == [int(labels[i])]


def test_float32_parameter_differences_are_still_certified(net, observe, digits):
    images, labels = digits
    model = net(dtype=torch.float32)
    seen = observe(model, images[:1], labels[:1])
    lr = 0.1
    before = {name: p.detach() for name, p in model.named_parameters()}
    after = {name: before[name] - lr * g for name, g in seen.gradient.items()}
    crossed = {name: (before[name] - after[name]) / lr for name in before}
    found = run(replace(seen, gradient=crossed))
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float((found.inputs - images[:1]).abs().max()) <= 1e-3


def test_clipping_does_not_cost_the_certificate(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    clipped = {name: 0.01 * g for name, g in seen.gradient.items()}
    assert run(replace(seen, gradient=clipped)).certificate is Certificate.CERTIFIED


def test_a_mixture_with_a_rank_one_gradient_is_not_certified(net, observe, digits):
    """Softmax regression on two classes: rank one for every batch, yet a mixture."""
    images, labels = digits
    two = torch.nonzero((labels == 0) | (labels == 1)).flatten()[:2]
    model = net(hidden=(), classes=2)
    for knows_batch in (True, False):
        seen = observe(
            model, images[two], labels[two], classes=2, knows_batch=knows_batch
        )
        dW = seen.gradient["1.weight"]
        singular = torch.linalg.svdvals(dW)
        assert float(singular[1] / singular[0]) < 1e-12
        found = run(seen)
        assert found.certificate is not Certificate.CERTIFIED
        errors = (found.inputs[:, None] - images[two][None]).abs().amax((2, 3, 4))
        assert float(errors.min()) > 0.1


def test_two_identical_records_are_not_certified(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[[3, 3]], labels[[3, 3]])
    assert run(seen).certificate is Certificate.UNCERTIFIED


def test_two_records_of_one_class_are_not_certified(net, observe, digits):
    images, labels = digits
    same = torch.nonzero(labels == 4).flatten()[:2]
    for hidden in ((), (64,)):
        seen = observe(net(hidden=hidden), images[same], labels[same])
        assert run(seen).certificate is Certificate.UNCERTIFIED


def test_a_sum_over_clients_is_not_certified(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2], clients=2)
    assert seen.batch_size == 1
    assert run(seen).certificate is Certificate.UNCERTIFIED


@pytest.mark.parametrize("unknown", ["batch_size", "steps"])
def test_an_unknown_premise_costs_the_certificate(net, observe, digits, unknown):
    images, labels = digits
    seen = replace(observe(net(), images[:1], labels[:1]), **{unknown: None})
    found = run(seen)
    assert found.certificate is Certificate.UNCERTIFIED
    assert float((found.inputs[0] - images[0]).abs().max()) <= 1e-10


def test_two_clients_with_the_same_record_are_not_certified(net, observe, digits):
    """Nothing in the gradient tells this from one client; only the count does."""
    images, labels = digits
    seen = observe(net(), images[[3, 3]], labels[[3, 3]], clients=2)
    found = run(seen)
    assert found.certificate is Certificate.UNCERTIFIED
    assert float((found.inputs[0] - images[3]).abs().max()) <= 1e-10


def test_a_little_noise_costs_the_certificate(net, observe, digits):
    images, labels = digits
    seen = observe(net(dtype=torch.float32), images[:1], labels[:1])
    noise = with_random_gradient(seen, seed=0).gradient
    noisy = {name: g + 5e-3 * noise[name] for name, g in seen.gradient.items()}
    found = run(replace(seen, gradient=noisy))
    assert found.certificate is Certificate.UNCERTIFIED
    assert "not rank one" in found.reason


def test_a_negated_gradient_is_not_certified(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1], knows_labels=True)
    upside_down = {name: -g for name, g in seen.gradient.items()}
    found = run(replace(seen, gradient=upside_down))
    assert found.certificate is Certificate.UNCERTIFIED


def test_two_local_steps_are_not_certified(net, observe, digits):
    images, labels = digits
    seen = replace(observe(net(), images[:1], labels[:1]), steps=2)
    assert run(seen).certificate is Certificate.UNCERTIFIED


def garbage_of(kind, seen):
    gradient = dict(seen.gradient)
    if kind == "noise":
        return with_random_gradient(seen, seed=1).gradient
    if kind == "constant":
        return {name: torch.ones_like(g) for name, g in gradient.items()}
    if kind == "sign":
        return {name: g.sign() for name, g in gradient.items()}
    if kind == "rank one":
        generator = torch.Generator().manual_seed(2)
        draw = torch.rand(64, generator=generator, dtype=torch.float64)
        gradient["1.bias"] = torch.randn(64, generator=generator).double()
        gradient["1.weight"] = torch.outer(gradient["1.bias"], draw)
        return gradient
    if kind == "other head":
        gradient["3.weight"] = -gradient["3.weight"]
        return gradient
    if kind == "masked":
        generator = torch.Generator().manual_seed(3)
        masks = {
            name: torch.randint(-(2**31), 2**31, g.shape, generator=generator)
            for name, g in gradient.items()
        }
        return {name: g + masks[name] / 2**16 for name, g in gradient.items()}
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", ["noise", "constant", "sign", "rank one", "other head", "masked"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_garbage_is_finite_and_never_certified(net, observe, digits, kind, dtype):
    images, labels = digits
    seen = observe(net(dtype=dtype), images[:1], labels[:1])
    garbage = {n: g.to(dtype) for n, g in garbage_of(kind, seen).items()}
    found = run(replace(seen, gradient=garbage))
    assert found.certificate is not Certificate.CERTIFIED
    assert bool(found.inputs.isfinite().all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_gradient_without_information_is_refused(net, observe, digits, value):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    empty = {name: torch.full_like(g, value) for name, g in seen.gradient.items()}
    found = run(replace(seen, gradient=empty))
    assert found.certificate is Certificate.REFUSED
    assert found.inputs.shape == (0, 1, 8, 8)


def test_half_precision_is_never_certified(net, observe, digits):
    images, labels = digits
    seen = observe(net(dtype=torch.bfloat16), images[:1], labels[:1])
    assert run(seen).certificate is Certificate.UNCERTIFIED


def test_a_wide_batch_yields_at_most_one_candidate_per_record(net, observe, digits):
    images, labels = digits
    for clients in (1, 4):
        seen = observe(net(hidden=(256,)), images[:8], labels[:8], clients=clients)
        found = run(seen)
        assert len(found.inputs) <= 8
        assert found.certificate is Certificate.UNCERTIFIED
        assert float(found.inputs.min()) >= 0 and float(found.inputs.max()) <= 1


def test_a_record_that_alone_moved_two_rows_comes_first(net, observe, digits):
    """Bias all units off, but let record 0 alone fire units 5 and 9."""
    images, labels = digits
    model = net()
    first = model[1]
    with torch.no_grad():
        first.bias.fill_(-1e3)
        others = images[1:4].flatten(1)
        for unit in (5, 9):
            record = images[0].flatten()
            direction = record - others.T @ torch.linalg.pinv(others.T) @ record
            first.weight[unit] = direction
            first.bias[unit] = -float(direction @ record) / 2
        first.bias[20:30] = 10.0  # units that every record moves: mixtures
    found = run(observe(model, images[:4], labels[:4]))
    assert float((found.inputs[0] - images[0]).abs().max()) <= 1e-8


class _Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1) * 2 - 1)


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.fc(self.fc(x.flatten(1)).relu()))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)),
            "Conv2d",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), "no bias"),
        (nn.Sequential(nn.Linear(8, 4), nn.Flatten(), nn.Linear(32, 10)), "flattened"),
        (_Normalised(), "flattened"),
        (_Shared(), "more than once"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)), "Batch"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)), "flattened"),
    ],
)
def test_other_first_layers_are_refused_with_a_reason(observe, digits, model, why):
    images, labels = digits
    found = run(observe(model.double(), images[:2], labels[:2]))
    assert found.certificate is Certificate.REFUSED
    assert why in found.reason


def test_an_update_without_the_first_layer_is_refused(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    head = {name: g for name, g in seen.gradient.items() if name.startswith("3")}
    assert run(replace(seen, gradient=head)).certificate is Certificate.REFUSED
