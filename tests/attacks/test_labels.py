from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from attacks import (
    LabelsUnavailable,
    ParameterError,
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
)
from attacks.inversion.labels import _whole_counts


def test_the_label_of_one_record_is_exact(net, observe, digits):
    images, labels = digits
    for seed in range(3):
        model = net(seed=seed)
        for i in range(20):
            seen = observe(model, images[i : i + 1], labels[i : i + 1])
            assert estimate_labels(seen, seed=seed).tolist() == [int(labels[i])]


def test_the_label_of_one_well_fitted_record_is_exact(net, observe, digits):
    """A confident model leaves a tiny gradient; the sign still tells."""
    images, labels = digits
    model = net(hidden=())
    with torch.no_grad():
        model[1].bias[int(labels[0])] += 20.0
    seen = observe(model, images[:1], labels[:1])
    assert float(seen.gradient["1.bias"].abs().max()) < 1e-6
    assert estimate_labels(seen, seed=0).tolist() == [int(labels[0])]


def test_counts_are_exact_when_the_probabilities_are_known(net, observe, digits):
    """A model that says the same about every input leaves nothing to estimate."""
    images, labels = digits
    model = net()
    with torch.no_grad():
        model[3].weight.zero_()
        model[3].bias.zero_()
    for size in (1, 2, 8, 64):
        seen = observe(model, images[:size], labels[:size])
        expected = torch.bincount(labels[:size], minlength=10)
        assert torch.equal(label_counts(seen, seed=0), expected)


def test_counts_of_an_untrained_net_are_exact_for_small_batches(net, observe, digits):
    images, labels = digits
    for start in range(0, 80, 8):
        seen = observe(net(), images[start : start + 8], labels[start : start + 8])
        expected = torch.bincount(labels[start : start + 8], minlength=10)
        assert torch.equal(label_counts(seen, seed=0), expected)


def test_classes_that_must_be_present_are_found_on_a_trained_net(net, observe, digits):
    images, labels = digits
    model = net()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(100):
        optimiser.zero_grad()
        functional.cross_entropy(model(images[:500]), labels[:500]).backward()
        optimiser.step()
    optimiser.zero_grad()
    for start in range(600, 680, 8):
        batch = slice(start, start + 8)
        seen = observe(model, images[batch], labels[batch])
        counts = label_counts(seen, seed=0)
        must = seen.gradient["3.bias"] < 0
        assert bool((counts[must] >= 1).all()) and int(counts.sum()) == 8


def test_the_head_is_what_is_read(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    no_head = {n: g for n, g in seen.gradient.items() if n != "3.bias"}
    with pytest.raises(LabelsUnavailable):
        label_counts(replace(seen, gradient=no_head), seed=0)
    spoilt = dict(seen.gradient) | {"3.bias": torch.full((10,), float("nan")).double()}
    with pytest.raises(LabelsUnavailable):
        label_counts(replace(seen, gradient=spoilt), seed=0)


def test_rounding_is_the_nearest_whole_point():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        expected = 3 * torch.rand(3, generator=generator, dtype=torch.float64)
        certain = torch.randint(0, 2, (3,), generator=generator)
        total = 4
        points = [
            torch.tensor([a, b, total - a - b])
            for a in range(total + 1)
            for b in range(total + 1 - a)
        ]
        allowed = [p for p in points if bool((p >= certain).all())]
        oracle = min(allowed, key=lambda p: float((p - expected).square().sum()))
        found = _whole_counts(expected, certain, total)
        assert float((found - expected).square().sum()) == pytest.approx(
            float((oracle - expected).square().sum())
        )


def test_the_null_of_labels_is_the_prior():
    assert guess_counts(10, [0.1] * 10).tolist() == [1] * 10
    assert guess_counts(4, [3.0, 1.0]).tolist() == [3, 1]
    for prior in ([], [1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(ParameterError):
            guess_counts(4, prior)


def test_label_accuracy_counts_the_multiset():
    truth = torch.tensor([1, 1, 2, 3])
    assert label_accuracy(torch.tensor([3, 2, 1, 1]), truth, classes=4) == 1.0
    assert label_accuracy(torch.tensor([1, 1, 1, 1]), truth, classes=4) == 0.5
    assert label_accuracy(torch.tensor([0, 0, 0, 0]), truth, classes=4) == 0.0
