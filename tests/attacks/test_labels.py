import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from attacks import (
    ILRG,
    Certificate,
    LabelsUnavailable,
    LocalCounts,
    MissingKnowledge,
    ParameterError,
    certain_counts,
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
    with_random_gradient,
)
from attacks.inversion.labels import whole_counts


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
        found = whole_counts(expected, certain, total)
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


def histogram(labels):
    return torch.bincount(labels, minlength=10)


def local_sgd(*, lr=0.05, momentum=0.0, batch=8, epochs=3):
    """The client's training, on its own records or on the attacker's."""

    def train(model, inputs, labels, *, seed):
        model, start = copy.deepcopy(model), copy.deepcopy(model)
        optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        generator, steps = torch.Generator().manual_seed(seed), 0
        for _ in range(epochs):
            order = torch.randperm(len(inputs), generator=generator)
            for part in order.split(batch):
                optimiser.zero_grad()
                functional.cross_entropy(model(inputs[part]), labels[part]).backward()
                optimiser.step()
                steps += 1
        return {
            name: (before - after).detach() / (lr * steps)
            for (name, before), after in zip(
                start.named_parameters(), model.parameters(), strict=True
            )
        }

    return train


def after_epochs(observe, model, images, labels, train, *, batch=8, epochs=3, pace=0.0):
    """Observe an update of several local epochs."""
    seen = observe(model, images[:batch], labels[:batch])
    gradient = train(model, images, labels, seed=99)
    steps = epochs * (len(labels) // batch)
    return replace(seen, gradient=gradient, steps=steps, epochs=epochs, momentum=pace)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_bounds_that_add_up_are_a_proof(net, observe, digits, size):
    images, labels = digits
    proven = 0
    for start in range(0, 160, 16):
        batch = slice(start, start + size)
        found = ILRG().run(observe(net(), images[batch], labels[batch]), seed=0)
        if found.certificate is Certificate.CERTIFIED:
            proven += 1
            assert torch.equal(found.counts, histogram(labels[batch]))
    assert proven >= 8


def test_a_certificate_is_never_false(net, observe, digits):
    """Confident nets, large batches, clipped gradients and sums over clients."""
    images, labels = digits
    for seed in range(3):
        model = net(seed=seed)
        with torch.no_grad():
            model[3].weight.mul_(1 + 10 * seed)
        for size, clients in ((2, 1), (8, 4), (64, 1)):
            seen = observe(model, images[:size], labels[:size], clients=clients)
            for factor in (1.0, 0.3):
                scaled = {n: factor * g for n, g in seen.gradient.items()}
                found = ILRG().run(replace(seen, gradient=scaled), seed=0)
                assert int(found.counts.sum()) == size
                if found.certificate is Certificate.CERTIFIED:
                    assert torch.equal(found.counts, histogram(labels[:size]))


def test_ilrg_solves_for_counts_beyond_the_proof(net, observe, digits):
    images, labels = digits
    scores = []
    for start in range(0, 480, 24):
        batch = slice(start, start + 24)
        found = ILRG().run(observe(net(), images[batch], labels[batch]), seed=0)
        assert found.certificate is Certificate.UNCERTIFIED
        assert "Estimated" in found.reason
        scores.append((found.counts == histogram(labels[batch])).double().mean())
    assert float(torch.stack(scores).mean()) >= 0.85  # a fair die would give 0.25


def test_noise_and_masks_cost_the_certificate_of_counts(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:4], labels[:4])
    assert ILRG().run(seen, seed=0).certificate is Certificate.CERTIFIED
    noise = with_random_gradient(seen, seed=1).gradient
    for strength in (1e-2, 1e3):
        noisy = {n: g + strength * noise[n] for n, g in seen.gradient.items()}
        found = ILRG().run(replace(seen, gradient=noisy), seed=0)
        assert found.certificate is Certificate.UNCERTIFIED
        assert "do not cancel" in found.reason


def test_unknown_steps_or_missing_heads_cost_the_certificate(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2])
    found = ILRG().run(replace(seen, steps=None), seed=0)
    assert found.certificate is Certificate.UNCERTIFIED
    found = ILRG().run(replace(seen, steps=3), seed=0)
    assert found.certificate is Certificate.REFUSED and "LocalCounts" in found.reason
    for name, value in (("3.bias", None), ("3.weight", torch.nan), ("3.bias", 0.0)):
        gradient = {n: g for n, g in seen.gradient.items() if n != name}
        if value is not None:
            gradient[name] = torch.full_like(seen.gradient[name], value)
        found = ILRG().run(replace(seen, gradient=gradient), seed=0)
        assert found.certificate is Certificate.REFUSED
        assert found.counts.tolist() == [0] * 10


def test_epochs_sharpen_the_bounds_to_a_proof(net, observe, digits):
    """One batch of six, three epochs: per epoch the bounds still add up."""
    images, labels = digits
    train = local_sgd(lr=0.01, batch=6)
    seen = after_epochs(observe, net(), images[:6], labels[:6], train, batch=6)
    attack = LocalCounts(inputs=images[900:], labels=labels[900:], train=train)
    found = attack.run(seen, seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert torch.equal(found.counts, histogram(labels[:6]))
    found = attack.run(replace(seen, momentum=None), seed=0)
    assert found.certificate is Certificate.UNCERTIFIED


def test_momentum_weakens_the_bounds(net, observe, digits):
    """Read as plain steps, the update would claim records that are not there."""
    images, labels = digits
    train = local_sgd(lr=0.01, momentum=0.9, batch=4)
    seen = after_epochs(
        observe, net(), images[:4], labels[:4], train, batch=4, pace=0.9
    )
    attack = LocalCounts(inputs=images[900:], labels=labels[900:], train=train)
    truth = histogram(labels[:4])
    assert bool((certain_counts(seen.gradient["3.bias"], 4) > truth).any())
    found = attack.run(seen, seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert torch.equal(found.counts, truth)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_simulated_epochs_count_better_than_a_frozen_model(
    net, observe, digits, momentum
):
    images, labels = digits
    train = local_sgd(momentum=momentum, batch=12)
    attack = LocalCounts(inputs=images[900:], labels=labels[900:], train=train)
    order = torch.cat([torch.nonzero(labels == c).flatten()[:8] for c in (0, 3, 4)])
    truth = histogram(labels[order])
    seen = after_epochs(observe, net(), images[order], labels[order], train, batch=12)
    found = attack.run(seen, seed=0)
    assert int(found.counts.sum()) == len(order)
    frozen = replace(seen, batch_size=len(order), steps=1, epochs=None)
    error = (found.counts - truth).abs().sum()
    assert int(error) <= int((label_counts(frozen, seed=0) - truth).abs().sum())
    assert int(error) <= 4


def test_local_counts_refuse_what_cannot_be(net, observe, digits):
    images, labels = digits
    train = local_sgd(batch=4, epochs=1)
    seen = after_epochs(
        observe, net(), images[:12], labels[:12], train, batch=4, epochs=1
    )
    attack = LocalCounts(inputs=images[900:], labels=labels[900:], train=train)
    found = attack.run(replace(seen, epochs=5), seed=0)
    assert found.certificate is Certificate.REFUSED and "equal epochs" in found.reason
    first, second = attack.run(seen, seed=1), attack.run(seen, seed=1)
    assert torch.equal(first.counts, second.counts)
    with pytest.raises(MissingKnowledge):
        attack.run(replace(seen, epochs=None), seed=0)
    with pytest.raises(ParameterError):
        LocalCounts(inputs=images[:3], labels=labels[:2], train=train)
