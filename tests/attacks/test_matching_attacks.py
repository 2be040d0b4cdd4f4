import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attacks import (
    DLG,
    Certificate,
    CosineTV,
    GradInversion,
    Modern,
    ParameterError,
    other_records,
    paired_excess,
    psnr,
    score,
    with_random_gradient,
)
from attacks.inversion import distance as distances
from attacks.inversion.distance import cosine_distance
from attacks.inversion.prior import opponent_variation, tile_guesses, total_variation
from attacks.inversion.replay import replay_of


def test_dlg_recovers_a_digit_and_its_optimised_label(net, observe, digits):
    images, labels = digits
    model = net(hidden=(32,), act=nn.Sigmoid)
    for i in range(3):
        found = DLG(iterations=150, restarts=2).run(
            observe(model, images[i : i + 1], labels[i : i + 1]), seed=i
        )
        assert psnr(found.inputs[0], images[i], data_range=1.0) > 30
        assert found.labels.tolist() == [int(labels[i])]
        assert found.certificate is Certificate.UNCERTIFIED


def test_dlg_keeps_known_labels(net, observe, digits):
    images, labels = digits
    seen = observe(net(act=nn.Sigmoid), images[:2], labels[:2], knows_labels=True)
    found = DLG(iterations=5, restarts=1).run(seen, seed=0)
    assert torch.equal(found.labels, labels[:2])


def attack_victims(attack, net, observe, digits, *, blind):
    """Return PSNR and null PSNR of 12 single-record victims."""
    images, labels = digits
    model = net(dtype=torch.float32)
    seen = [observe(model, images[i : i + 1], labels[i : i + 1]) for i in range(12)]
    if blind:
        seen = [with_random_gradient(one, seed=i) for i, one in enumerate(seen)]
    values, nulls = [], []
    for i, found in enumerate(attack.run_many(seen, seeds=range(12))):
        truth = images[i : i + 1]
        others = other_records(images, truth, sets=20, seed=i)
        result = score(found.inputs, truth, others, value_range=(0.0, 1.0))
        values.append(result.psnr)
        nulls.append(result.psnr_null)
    return values, nulls


@pytest.mark.parametrize("kind", [CosineTV, Modern, GradInversion])
def test_cosine_matching_beats_its_null_on_an_undefended_update(
    net, observe, digits, kind
):
    attack = kind(iterations=60, restarts=2)
    values, nulls = attack_victims(attack, net, observe, digits, blind=False)
    assert paired_excess(values, nulls).low > 10


@pytest.mark.parametrize("kind", [CosineTV, Modern, GradInversion])
def test_cosine_matching_is_at_its_null_on_a_random_gradient(
    net, observe, digits, kind
):
    attack = kind(iterations=60, restarts=2)
    values, nulls = attack_victims(attack, net, observe, digits, blind=True)
    excess = paired_excess(values, nulls, 0.99)
    assert excess.low <= 0 <= excess.high
    assert excess.high - excess.low < 5


@pytest.mark.parametrize(
    "attack",
    [
        DLG(iterations=5, restarts=2),
        CosineTV(iterations=10, restarts=3),
        Modern(iterations=10, restarts=3),
        GradInversion(iterations=10, restarts=3),
    ],
)
def test_a_seed_repeats_bit_for_bit(net, observe, digits, attack):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2])
    torch.manual_seed(1)
    one = attack.run(seen, seed=7)
    torch.manual_seed(2)  # the global generator must not matter
    two = attack.run(seen, seed=7)
    other = attack.run(seen, seed=8)
    assert torch.equal(one.inputs, two.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_objective_belongs_to_the_returned_records(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2], knows_labels=True)
    found = CosineTV(iterations=25, restarts=3, smoothness=0.0).run(seen, seed=0)
    model = net()
    loss = nn.functional.cross_entropy(model(found.inputs), found.labels)
    mine = torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]
    )
    target = torch.cat([g.flatten() for g in seen.gradient.values()])
    cosine = float(mine @ target / (mine.norm() * target.norm()))
    assert found.objective == pytest.approx(1 - cosine, abs=1e-10)


def test_restarts_side_by_side_equal_restarts_in_turn(
    net, observe, digits, monkeypatch
):
    images, labels = digits
    seen = observe(net(), images[:3], labels[:3], knows_labels=True)
    one_hot = nn.functional.one_hot(labels[:3], 10).double()
    replay = replay_of(seen.model, seen.gradient)
    guesses = torch.rand(
        (4, 3, 1, 8, 8), generator=torch.Generator().manual_seed(0)
    ).double()

    def slopes(limit):
        monkeypatch.setattr(distances, "_STACKED_WEIGHTS_AT_MOST", limit)
        free = guesses.clone().requires_grad_(True)
        targets = {name: g[None] for name, g in seen.gradient.items()}
        distance = cosine_distance(replay, targets, one_hot[None], (1, 8, 8))
        value = distance(free[None])[0]
        return value.detach(), torch.autograd.grad(value.sum(), free)[0]

    stacked, in_turn = slopes(2**40), slopes(0)
    torch.testing.assert_close(stacked[0], in_turn[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(stacked[1], in_turn[1], rtol=1e-8, atol=1e-12)


def test_observations_attacked_together_come_out_as_alone(net, observe, digits):
    images, labels = digits
    attack = CosineTV(iterations=12, restarts=3)
    model, other = net(), net(hidden=(20,))
    seen = [
        observe(model, images[:2], labels[:2]),
        observe(other, images[2:4], labels[2:4]),
        observe(model, images[4:6], labels[4:6]),
        observe(model, images[6:7], labels[6:7]),
    ]
    seen.append(
        replace(seen[0], gradient={k: g * 0 for k, g in seen[0].gradient.items()})
    )
    seeds = [3, 4, 5, 6, 7]
    together = attack.run_many(seen, seeds=seeds)
    for one, seed, found in zip(seen, seeds, together, strict=True):
        alone = attack.run(one, seed=seed)
        assert found.certificate is alone.certificate
        torch.testing.assert_close(found.inputs, alone.inputs, rtol=1e-6, atol=1e-8)
    assert together[4].certificate is Certificate.REFUSED


def test_scaling_the_gradient_leaves_the_cosine_attack_unchanged(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1], knows_labels=True)
    clipped = replace(
        seen, gradient={name: g / 64 for name, g in seen.gradient.items()}
    )
    attack = CosineTV(iterations=30, restarts=2)
    torch.testing.assert_close(
        attack.run(seen, seed=0).inputs, attack.run(clipped, seed=0).inputs
    )


@pytest.mark.parametrize(
    "attack",
    [
        DLG(iterations=2),
        CosineTV(iterations=2),
        Modern(iterations=2),
        GradInversion(iterations=2),
    ],
)
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_unusable_gradient_comes_back_as_a_failure(
    net, observe, digits, attack, value
):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2], knows_labels=True)
    spoilt = {name: torch.full_like(g, value) for name, g in seen.gradient.items()}
    found = attack.run(replace(seen, gradient=spoilt), seed=0)
    assert found.certificate is Certificate.REFUSED
    assert len(found.inputs) == 0 and found.reason


@pytest.mark.parametrize(
    "attack",
    [
        DLG(iterations=2),
        CosineTV(iterations=2),
        Modern(iterations=2),
        GradInversion(iterations=2),
    ],
)
def test_a_search_that_only_meets_nan_comes_back_as_a_failure(
    net, observe, digits, attack
):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2], knows_labels=True)
    broken = net()
    with torch.no_grad():
        broken[1].weight.fill_(float("nan"))
    found = attack.run(replace(seen, model=broken), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_missing_labels_come_back_as_a_failure(observe, digits):
    images, labels = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).double()
    found = CosineTV(iterations=2).run(observe(model, images[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.REFUSED


class _ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(192, 10)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.conv(x)).relu().flatten(1)))


@pytest.mark.parametrize("training", [True, False])
def test_any_module_can_be_attacked_in_the_mode_it_was_in(observe, digits, training):
    images, labels = digits
    torch.manual_seed(0)
    model = _ConvNet().double().train(training)
    seen = observe(model, images[:2], labels[:2], knows_labels=True)
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    for attack in (
        DLG(iterations=2),
        CosineTV(iterations=2, restarts=2),
        Modern(iterations=2, restarts=2),
        GradInversion(iterations=2, restarts=2),
    ):
        found = attack.run(seen, seed=0)
        assert found.inputs.shape == (2, 1, 8, 8)
    assert model.training is training
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())


def test_tabular_records_have_no_smoothness(net, observe):
    generator = torch.Generator().manual_seed(0)
    records = torch.randn(1, 13, generator=generator, dtype=torch.float64)
    model = net(hidden=(24,), inputs=13, classes=3)
    label = torch.tensor([2])
    seen = observe(model, records, label, classes=3, value_range=None)
    plain = CosineTV(iterations=20, restarts=2, smoothness=0.0).run(seen, seed=0)
    rough = CosineTV(iterations=20, restarts=2, smoothness=10.0).run(seen, seed=0)
    assert torch.equal(plain.inputs, rough.inputs)


def test_total_variation_matches_the_sum_over_neighbours():
    image = np.random.default_rng(0).random((2, 1, 4, 5))
    expected = []
    for one in image[:, 0]:
        across = [abs(one[r, c + 1] - one[r, c]) for r in range(4) for c in range(4)]
        down = [abs(one[r + 1, c] - one[r, c]) for r in range(3) for c in range(5)]
        expected.append(np.mean(across) + np.mean(down))
    found = total_variation(torch.tensor(image), batch_axes=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_variation_of_opponents_matches_the_sum_over_pixels():
    image = np.random.default_rng(0).random((2, 3, 4, 5))
    planes = [*range(3), (0, 1), (0, 2), (1, 2)]
    expected = []
    for one in image:
        lengths = []
        for plane in planes:
            alone = isinstance(plane, int)
            shown = one[plane] if alone else one[plane[0]] - one[plane[1]]
            for r in range(4):
                for c in range(5):
                    down = shown[r + 1, c] - shown[r, c] if r < 3 else 0.0
                    across = shown[r, c + 1] - shown[r, c] if c < 4 else 0.0
                    lengths.append(math.hypot(down, across))
        expected.append(np.mean(lengths))
    found = opponent_variation(torch.tensor(image), batch_axes=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_the_variation_of_a_flat_image_is_zero_and_has_a_slope():
    flat = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    value = opponent_variation(flat, batch_axes=1)
    (slope,) = torch.autograd.grad(value.sum(), flat)
    assert float(value.detach()) == 0 and bool((slope == 0).all())


def test_the_modern_search_starts_from_a_pattern(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2])
    found = Modern(iterations=1, step=1e-9).run(seen, seed=0).inputs
    torch.testing.assert_close(found[..., 4:], found[..., :4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (2, 9)])
def test_patterned_starts_repeat_one_patch(shape):
    generator = torch.Generator().manual_seed(0)
    starts = tile_guesses(3, (2, *shape), (0.0, 1.0), generator, size=4)
    assert starts.shape == (3, 2, *shape)
    assert torch.equal(starts[..., 4:], starts[..., : shape[-1] - 4])
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[:, 0], starts[:, 1])


@pytest.mark.parametrize(
    "settings", [{"iterations": 0}, {"restarts": 0}, {"step": 0.0}, {"smoothness": -1}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ParameterError):
        CosineTV(**settings)
    with pytest.raises(ParameterError):
        Modern(**settings)
    with pytest.raises(ParameterError):
        GradInversion(**settings)
