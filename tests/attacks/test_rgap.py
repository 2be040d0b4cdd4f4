"""R-GAP on small chains: exact at full rank, refused before the attack otherwise."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks import RGAP, Certificate, rank_analysis, with_random_gradient
from attacks.inversion.chain import chain_of


def cnn(*, act=nn.LeakyReLU, channels=2, stride=1, bias=True, seed=0, classes=10):
    """Two convolutions and an output layer on 8 x 8 pixels."""
    torch.manual_seed(seed)
    side = 8 if stride == 1 else 4
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride, 1, bias=bias),
        act(),
        nn.Conv2d(channels, channels, 3, 1, 1, bias=bias),
        act(),
        nn.Flatten(),
        nn.Linear(channels * side * side, classes, bias=bias),
    ).double()


@pytest.mark.parametrize(
    "act", [nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_full_rank_cnn_gives_the_record(observe, digits, act, bias):
    images, labels = digits
    model = cnn(act=act, bias=bias)
    assert rank_analysis(model, (1, 8, 8)).exposed
    found = RGAP().run(observe(model, images[3:4], labels[3:4]), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float((found.inputs - images[3:4]).abs().max()) <= 1e-4
    assert found.labels.tolist() == [int(labels[3])]


def test_hidden_linear_layers_recur_too(net, observe, digits):
    images, labels = digits
    model = net(hidden=(32, 16), act=nn.Tanh)
    found = RGAP().run(observe(model, images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float((found.inputs - images[:1]).abs().max()) <= 1e-8


def test_a_rank_deficient_cnn_is_flagged_before_any_attack(observe, digits):
    images, labels = digits
    model = cnn(stride=2)
    risk = rank_analysis(model, (1, 8, 8))
    assert not risk.exposed
    first = risk.layers[0]
    # 2 x 4 x 4 outputs and 2 x 3 x 3 weights against 64 pixels.
    assert (first.unknowns, first.constraints) == (64, 32 + 18)
    assert first.shortfall >= 64 - 50
    seen = observe(model, images[:1], labels[:1])
    empty = {name: torch.zeros_like(g) for name, g in seen.gradient.items()}
    for gradient in (seen.gradient, empty):
        found = RGAP().run(replace(seen, gradient=gradient), seed=0)
        assert found.certificate is Certificate.REFUSED
        assert found.reason.startswith("Rank deficient before any attack")


def test_the_system_is_the_one_that_autograd_solves():
    """Slow oracle: outputs and weight gradients of the layer, by autograd."""
    stages, _ = chain_of(cnn(channels=3, stride=2), (1, 8, 8))
    generator = torch.Generator().manual_seed(0)
    for stage in stages[:2]:
        record = torch.randn((1, *stage.shape), generator=generator).double()
        layer = stage.layer.requires_grad_(True)
        out = layer(record)
        delta = torch.randn(out.shape, generator=generator).double()
        (truth,) = torch.autograd.grad(out, layer.weight, delta)
        rows = stage.system(delta[0]) @ record.flatten()
        linear = (out - layer.bias[:, None, None]).flatten()
        assert torch.allclose(rows[: out.numel()], linear)
        scaled = rows[out.numel() :] / stage.balance(delta[0])
        assert torch.allclose(scaled, truth.flatten())
        layer.requires_grad_(False)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (nn.ReLU(), "ReLU"),
        (nn.MaxPool2d(2), "MaxPool2d"),
        (nn.BatchNorm2d(4), "BatchNorm2d"),
    ],
)
def test_what_cannot_be_inverted_is_refused_with_its_name(observe, digits, part, why):
    images, labels = digits
    body = [nn.Conv2d(1, 4, 3, 1, 1), part, nn.Flatten(), nn.LazyLinear(10)]
    model = nn.Sequential(*body).double()
    model(images[:2])
    seen = observe(model, images[:2], labels[:2])
    found = RGAP().run(seen, seed=0)
    assert found.certificate is Certificate.REFUSED and why in found.reason
    assert why in rank_analysis(model, (1, 8, 8)).reason


def test_twin_records_are_not_certified(observe, digits):
    """Two classes and no bias: one equation, sometimes with two answers."""
    images, labels = digits
    two = torch.nonzero(labels < 2).flatten()[:3]
    kinds = set()
    for seed, i in enumerate(two.tolist()):
        model = cnn(bias=False, classes=2, seed=seed)
        with torch.no_grad():
            model[-1].weight.mul_(20)
        seen = observe(model, images[i : i + 1], labels[i : i + 1], classes=2)
        found = RGAP().run(seen, seed=0)
        kinds.add(found.certificate)
        if found.certificate is Certificate.CERTIFIED:
            assert float((found.inputs - images[i]).abs().max()) <= 1e-4
    assert Certificate.CERTIFIED in kinds


def test_several_records_and_unknown_premises_are_not_certified(observe, digits):
    images, labels = digits
    model = cnn()
    for size, clients in ((2, 1), (2, 2)):
        seen = observe(model, images[:size], labels[:size], clients=clients)
        assert RGAP().run(seen, seed=0).certificate is not Certificate.CERTIFIED
    seen = observe(model, images[:1], labels[:1])
    for unknown in ("batch_size", "steps"):
        found = RGAP().run(replace(seen, **{unknown: None}), seed=0)
        assert found.certificate is Certificate.UNCERTIFIED


def test_noise_and_masks_are_never_certified(observe, digits):
    images, labels = digits
    seen = observe(cnn(), images[:1], labels[:1])
    noise = with_random_gradient(seen, seed=1).gradient
    for strength in (1e-3, 1e6):
        noisy = {n: g + strength * noise[n] for n, g in seen.gradient.items()}
        found = RGAP().run(replace(seen, gradient=noisy), seed=0)
        assert found.certificate is not Certificate.CERTIFIED


def test_the_same_seed_gives_the_same_answer(observe, digits):
    images, labels = digits
    seen = observe(cnn(), images[:1], labels[:1])
    first, second = RGAP().run(seen, seed=3), RGAP().run(seen, seed=3)
    assert torch.equal(first.inputs, second.inputs)
