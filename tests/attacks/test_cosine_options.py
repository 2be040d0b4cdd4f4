"""Options of cosine matching: labels as unknowns, and gradients compared in part."""

from itertools import islice

import pytest
import torch
from torch import nn

from attacks import (
    Certificate,
    CosineTV,
    ParameterError,
    other_records,
    paired_excess,
    psnr,
    with_random_gradient,
)
from attacks.inversion.subsets import Part, Unit

WEIGHTS = {"a": torch.zeros(40, 50), "b": torch.zeros(30), "c": torch.zeros(7, 3)}


def test_entries_are_drawn_anew_with_the_share_and_only_where_seen():
    known = {name: torch.rand(w.shape) < 0.5 for name, w in WEIGHTS.items()}
    one, two = islice(Part(share=0.3).masks(WEIGHTS, known), 2)
    again = next(Part(share=0.3).masks(WEIGHTS, known))
    assert all(torch.equal(one[name], again[name]) for name in WEIGHTS)
    assert not torch.equal(one["a"], two["a"])
    assert all(bool((mask <= known[name]).all()) for name, mask in one.items())
    seen = float(next(Part(share=0.3).masks(WEIGHTS, None))["a"].float().mean())
    assert abs(seen - 0.3) < 0.05


def test_tensors_are_drawn_whole_and_never_none():
    part = Part(share=0.05, unit=Unit.TENSORS)
    for masks in islice(part.masks(WEIGHTS, None), 40):
        assert all(bool(m.all()) or not bool(m.any()) for m in masks.values())
        assert any(bool(m.any()) for m in masks.values())


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_that_are_no_part_are_refused(share):
    with pytest.raises(ParameterError):
        Part(share=share)


@pytest.mark.parametrize("unit", list(Unit))
def test_in_part_the_whole_gradient_decides(net, observe, digits, unit):
    images, labels = digits
    seen = observe(net(), images[:2], labels[:2], knows_labels=True)
    part = Part(share=0.5, unit=unit)
    attack = CosineTV(iterations=12, restarts=3, smoothness=0.0, part=part)
    found = attack.run(seen, seed=0)
    model = net()
    loss = nn.functional.cross_entropy(model(found.inputs), found.labels)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    mine = torch.cat([g.flatten() for g in grads])
    target = torch.cat([g.flatten() for g in seen.gradient.values()])
    cosine = float(mine @ target / (mine.norm() * target.norm()))
    assert found.objective == pytest.approx(1 - cosine, abs=1e-10)


def attack_digits(attack, net, observe, digits, *, blind=False):
    """Return the answers of eight victims, their PSNR, and that of other records."""
    images, labels = digits
    model = net(dtype=torch.float32)
    seen = [observe(model, images[i : i + 1], labels[i : i + 1]) for i in range(8)]
    if blind:
        seen = [with_random_gradient(one, seed=i) for i, one in enumerate(seen)]
    answers = attack.run_many(seen, seeds=range(8))
    values, nulls = [], []
    for i, found in enumerate(answers):
        truth = images[i : i + 1]
        sets = other_records(images, truth, sets=20, seed=i)
        null = [psnr(found.inputs[0], one[0], data_range=1.0) for one in sets]
        values.append(psnr(found.inputs[0], truth[0], data_range=1.0))
        nulls.append(sum(null) / len(null))
    return answers, values, nulls


OPTIONS = [{"joint_labels": True}, {"part": Part(share=0.5)}]


@pytest.mark.parametrize("option", OPTIONS)
def test_with_options_digits_come_back(net, observe, digits, option):
    attack = CosineTV(iterations=100, restarts=2, **option)
    answers, values, nulls = attack_digits(attack, net, observe, digits)
    assert paired_excess(values, nulls).low > 10
    assert [int(found.labels) for found in answers] == digits[1][:8].tolist()


@pytest.mark.parametrize("option", OPTIONS)
def test_with_options_a_random_gradient_gives_the_null(net, observe, digits, option):
    attack = CosineTV(iterations=25, restarts=2, **option)
    _, values, nulls = attack_digits(attack, net, observe, digits, blind=True)
    excess = paired_excess(values, nulls, 0.99)
    assert excess.low <= 0 <= excess.high


def test_joint_labels_do_without_a_bias(observe, digits):
    images, labels = digits
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).double()
    seen = observe(model, images[:1], labels[:1])
    settings = {"iterations": 30, "restarts": 2}
    counted = CosineTV(**settings).run(seen, seed=0)
    joint = CosineTV(**settings, joint_labels=True).run(seen, seed=0)
    assert counted.certificate is Certificate.REFUSED
    assert joint.labels.tolist() == labels[:1].tolist()


def test_known_labels_are_kept_and_groups_come_out_as_alone(net, observe, digits):
    images, labels = digits
    model = net()
    seen = [
        observe(model, images[:2], labels[:2]),
        observe(model, images[2:4], labels[2:4], knows_labels=True),
        observe(model, images[4:6], labels[4:6]),
    ]
    attack = CosineTV(iterations=8, restarts=3, joint_labels=True)
    together = attack.run_many(seen, seeds=[3, 4, 5])
    assert torch.equal(together[1].labels, labels[2:4])
    for one, seed, found in zip(seen, (3, 4, 5), together, strict=True):
        alone = attack.run(one, seed=seed)
        torch.testing.assert_close(found.inputs, alone.inputs, rtol=1e-6, atol=1e-8)
