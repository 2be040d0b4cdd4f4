"""Attacks on gradients of which a part was not seen."""

from dataclasses import replace

import pytest
import torch

from attacks import (
    Certificate,
    CosineTV,
    LinearInversion,
    ObservationError,
    ParameterError,
    require,
)
from attacks.inversion.distance import as_target, cosine_distance, squared_distance
from attacks.inversion.replay import replay_of


def all_seen(seen):
    return {name: torch.ones_like(g, dtype=torch.bool) for name, g in seen.items()}


def hide(observation, where):
    """Hide entries; what lies there is a ciphertext, and says nothing."""
    known = all_seen(observation.gradient)
    where(known)
    noise = {
        name: torch.where(known[name], g, 1e6 * torch.randn_like(g))
        for name, g in observation.gradient.items()
    }
    return replace(observation, gradient=noise, known=known)


def biases(known):
    for name, flags in known.items():
        if name.endswith("bias"):
            flags[:] = False


def some_of_each_row(known):
    known["1.weight"][::2, ::3] = False


def left_half(known):
    known["1.weight"][:, :32] = False


def test_what_was_not_seen_never_reaches_an_attack(net, observe, digits):
    images, labels = digits
    seen = hide(observe(net(), images[:1], labels[:1]), biases)
    assert not seen.gradient["1.bias"].any()


def test_all_entries_seen_change_nothing_but_the_certificate(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:3], labels[:3])
    masked = hide(seen, lambda known: None)
    one, other = (LinearInversion().run(each, seed=0) for each in (seen, masked))
    assert torch.allclose(one.inputs, other.inputs)


@pytest.mark.parametrize("where", [biases, some_of_each_row])
def test_one_record_comes_back_from_what_is_left(net, observe, digits, where):
    images, labels = digits
    for i in range(5):
        image = images[i : i + 1]
        image = image / image.max()  # reaches the end of the value range
        found = LinearInversion().run(
            hide(observe(net(), image, labels[i : i + 1]), where), seed=0
        )
        assert found.certificate is Certificate.UNCERTIFIED
        assert float((found.inputs - image).abs().max()) <= 1e-9


def test_the_sign_follows_from_the_rest_of_the_gradient(net, observe, digits):
    images, labels = digits
    for i in range(5):
        image = 2 * images[i : i + 1] / images[i].max() - 1
        honest = observe(net(), image, labels[i : i + 1])
        seen = replace(hide(honest, biases), value_range=(-1.0, 1.0))
        found = LinearInversion().run(seen, seed=0).inputs
        assert float((found - image).abs().max()) <= 1e-9


def test_pixels_whose_weights_are_hidden_do_not_come_back(net, observe, digits):
    images, labels = digits
    seen = hide(observe(net(), images[:1], labels[:1]), left_half)
    found = LinearInversion().run(seen, seed=0).inputs.flatten()
    assert not found[:32].any()
    assert torch.allclose(found[32:], images[0].flatten()[32:])


def test_nothing_comes_back_from_biases_alone(net, observe, digits):
    images, labels = digits
    seen = hide(
        observe(net(), images[:1], labels[:1]),
        lambda known: known["1.weight"].fill_(False),
    )
    assert not LinearInversion().run(seen, seed=0).inputs.any()


def test_distances_are_taken_over_the_seen_entries(net, observe, digits):
    images, labels = digits
    seen = hide(observe(net(), images[:1], labels[:1]), biases)
    target = as_target(seen)
    replay = replay_of(seen.model, target)
    truth = torch.nn.functional.one_hot(labels[:1], 10).double()
    image = images[:1]
    masked = squared_distance(replay, target, image, truth, seen.known)
    assert float(masked.detach()) < 1e-20
    assert float(squared_distance(replay, target, image, truth).detach()) > 1e-3
    targets = {name: g[None] for name, g in target.items()}
    for known, near in ((seen.known, True), (None, False)):
        distance = cosine_distance(replay, targets, truth[None], (1, 8, 8), known)
        gap = float(distance(image[None, None]).detach())
        assert gap < 1e-12 if near else gap > 1e-4


def test_an_attack_on_whole_gradients_is_not_given_a_part(net, observe, digits):
    images, labels = digits
    seen = hide(observe(net(), images[:1], labels[:1]), biases)
    with pytest.raises(ParameterError, match="whole gradients"):
        require(seen, frozenset({"gradient"}), attack="of a test")


def test_matching_runs_on_a_part(net, observe, digits):
    images, labels = digits
    seen = hide(observe(net(), images[:1], labels[:1]), some_of_each_row)
    found = CosineTV(iterations=2, restarts=1).run(seen, seed=0)
    assert found.certificate is Certificate.UNCERTIFIED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda known: known.pop("1.bias"),
        lambda known: known.update({"1.bias": known["1.bias"][:-1]}),
        lambda known: known.update({"1.bias": known["1.bias"].float()}),
    ],
)
def test_a_map_that_does_not_fit_the_gradient_is_refused(net, observe, digits, spoil):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    known = all_seen(seen.gradient)
    spoil(known)
    with pytest.raises(ObservationError, match=r"1\.bias"):
        replace(seen, known=known)
