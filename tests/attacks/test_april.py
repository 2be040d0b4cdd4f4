"""APRIL on small vision transformers: exact for one record, silent otherwise."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks import APRIL, Certificate, ParameterError, with_random_gradient


class _Attention(nn.Module):
    """Multi-head self-attention with separate projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, z):
        q, k, v = (
            part(z).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        mixed = ((q @ k.mT) / q.shape[-1] ** 0.5).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Bare(nn.Module):
    """Figure 1 (A) of the paper: the attention alone reads patches + positions."""

    def __init__(self, *, width=32, patch=2, position=True, pooled=True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, patch, stride=patch)
        self.pos = nn.Parameter(torch.randn(1, (8 // patch) ** 2, width) * 0.1)
        self.pos.requires_grad_(position)
        self.attention = _Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, 10)
        self.pooled = pooled

    def forward(self, x):
        z = self.patch(x).flatten(2).mT + self.pos
        y = self.mlp(self.attention(z))
        return self.head(y.mean(1) if self.pooled else y[:, 0])


class _Usual(nn.Module):
    """Figure 1 (B): class token, layer norms and residual paths, two blocks."""

    def __init__(self, width=32) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.pos = nn.Embedding(17, width)
        block = nn.TransformerEncoderLayer(
            width, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        rows = x.reshape(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
        z = torch.cat([self.cls.expand(len(x), -1, -1), self.patch(rows)], dim=1)
        return self.head(self.blocks(z + self.pos.weight)[:, 0])


@pytest.fixture
def bare():
    torch.manual_seed(0)
    return _Bare().double()


@pytest.fixture
def usual():
    torch.manual_seed(0)
    return _Usual().double().eval()


@pytest.mark.parametrize("route", ["either", "attention", "patches"])
def test_one_block_gives_the_record_exactly(bare, observe, digits, route):
    images, labels = digits
    for i in range(5):
        found = APRIL(route=route).run(
            observe(bare, images[i : i + 1], labels[i : i + 1]), seed=0
        )
        assert found.certificate is Certificate.CERTIFIED, found.reason
        assert float((found.inputs - images[i : i + 1]).abs().max()) <= 1e-6
        assert found.labels.tolist() == [int(labels[i])]


def test_residual_paths_do_not_hide_the_patches(usual, observe, digits):
    """The paper's theorem is off behind a residual; the patch layer still tells."""
    images, labels = digits
    seen = observe(usual, images[:1], labels[:1])
    found = APRIL().run(seen, seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float((found.inputs - images[:1]).abs().max()) <= 1e-6
    attention = APRIL(route="attention").run(seen, seed=0)
    assert attention.certificate is Certificate.REFUSED
    assert "No attention reads" in attention.reason


def test_float32_is_certified_where_the_system_is_well_conditioned(observe, digits):
    """One pooled block tells its tokens apart by one part in a million."""
    images, labels = digits
    torch.manual_seed(0)
    found = APRIL().run(observe(_Usual().eval(), images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float((found.inputs - images[:1]).abs().max()) <= 1e-3
    found = APRIL().run(observe(_Bare(), images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.UNCERTIFIED
    assert "near to rank deficiency" in found.reason


def test_a_rank_deficient_model_is_refused_before_the_attack(observe, digits):
    """A head on one token, reached by one attention: four heads, few directions."""
    torch.manual_seed(0)
    images, labels = digits
    model = _Bare(pooled=False).double()
    found = APRIL(route="patches").run(observe(model, images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.REFUSED
    assert "rank deficient for every record" in found.reason


def test_more_patches_than_width_are_refused(observe, digits):
    torch.manual_seed(0)
    images, labels = digits
    model = _Bare(width=32, patch=1).double()  # 64 patches
    found = APRIL().run(observe(model, images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_several_records_are_never_certified(bare, observe, digits):
    images, labels = digits
    for size, clients in ((2, 1), (2, 2), (8, 1)):
        seen = observe(bare, images[:size], labels[:size], clients=clients)
        found = APRIL().run(seen, seed=0)
        assert found.certificate is Certificate.UNCERTIFIED
        errors = (found.inputs - images[:size]).abs().amax((1, 2, 3))
        assert float(errors.min()) > 0.1


@pytest.mark.parametrize("unknown", ["batch_size", "steps"])
def test_an_unknown_premise_costs_the_certificate(bare, observe, digits, unknown):
    images, labels = digits
    seen = replace(observe(bare, images[:1], labels[:1]), **{unknown: None})
    found = APRIL().run(seen, seed=0)
    assert found.certificate is Certificate.UNCERTIFIED


@pytest.mark.parametrize("route", ["attention", "patches"])
def test_noise_and_masks_cost_the_certificate(bare, observe, digits, route):
    images, labels = digits
    seen = observe(bare, images[:1], labels[:1])
    noise = with_random_gradient(seen, seed=1).gradient
    for strength in (1e-3, 1.0, 1e6):
        noisy = {n: g + strength * noise[n] for n, g in seen.gradient.items()}
        found = APRIL(route=route).run(replace(seen, gradient=noisy), seed=0)
        assert found.certificate is Certificate.UNCERTIFIED
        assert bool(found.inputs.isfinite().all())


def test_a_rescaled_gradient_keeps_the_certificate(bare, observe, digits):
    images, labels = digits
    seen = observe(bare, images[:1], labels[:1])
    clipped = {name: 0.01 * g for name, g in seen.gradient.items()}
    found = APRIL().run(replace(seen, gradient=clipped), seed=0)
    assert found.certificate is Certificate.CERTIFIED


def test_the_same_seed_gives_the_same_answer(bare, observe, digits):
    images, labels = digits
    seen = observe(bare, images[:1], labels[:1])
    first, second = APRIL().run(seen, seed=3), APRIL().run(seen, seed=3)
    assert torch.equal(first.inputs, second.inputs)


def test_what_is_no_transformer_is_refused_with_a_reason(net, bare, observe, digits):
    images, labels = digits
    found = APRIL().run(observe(net(), images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.REFUSED
    assert "cuts no patches" in found.reason
    seen = observe(bare, images[:1], labels[:1])
    frozen = {name: g for name, g in seen.gradient.items() if name != "pos"}
    found = APRIL().run(replace(seen, gradient=frozen), seed=0)
    assert "position embedding" in found.reason
    spoilt = dict(seen.gradient) | {"pos": torch.full((1, 16, 32), float("nan"))}
    found = APRIL().run(replace(seen, gradient=spoilt), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_an_unknown_route_is_refused():
    with pytest.raises(ParameterError):
        APRIL(route="magic")
