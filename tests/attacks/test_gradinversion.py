"""GradInversion: what batch norm buffers tell, and what it is worth to the attack."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from attacks import (
    CosineTV,
    GradInversion,
    ObservationError,
    ParameterError,
    other_records,
    paired_excess,
    require,
    score,
    statistics_of_buffers,
    with_random_gradient,
)
from attacks.inversion.batchnorm import batch_statistics, statistics_gap
from attacks.inversion.gradinversion import distinct_labels
from attacks.inversion.matching import Group
from attacks.inversion.replay import replay_of


class _Normed(nn.Module):
    """A convolution, batch norm and head; `deep` has a normed layer in between."""

    def __init__(self, momentum: float | None = 0.1, *, deep: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6, momentum=momentum)
        self.hidden = nn.Linear(384, 16) if deep else nn.Identity()
        self.flat = nn.BatchNorm1d(16, momentum=momentum) if deep else nn.Identity()
        self.head = nn.Linear(16 if deep else 384, 10)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu().flatten(1)
        return self.head(self.flat(self.hidden(x)).relu())


def normed(dtype=torch.float64, **settings):
    torch.manual_seed(0)
    return _Normed(**settings).to(dtype)


def watch(observe, images, labels, dtype=torch.float64, **settings):
    """Observe a step, with the statistics that the moved buffers tell."""
    client = normed(dtype, **settings)
    before = {name: b.clone() for name, b in client.named_buffers()}
    seen = observe(client, images, labels)
    told = statistics_of_buffers(client, before, dict(client.named_buffers()))
    return replace(seen, model=normed(dtype, **settings), batch_statistics=told)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_statistics_follow_exactly_from_buffers_before_and_after(
    observe, digits, momentum
):
    images = digits[0][:6]
    model = normed(momentum=momentum)
    for start in range(20, 60, 10):  # so that no buffer is at its initial value
        model(images[start % 6 :])
    before = {name: b.clone() for name, b in model.named_buffers()}
    model(images)
    told = statistics_of_buffers(model, before, dict(model.named_buffers()))
    planes = model.conv(images).detach()
    rows = model.hidden(model.norm(planes).relu().flatten(1)).detach()
    for name, values in (("norm", planes.transpose(0, 1).flatten(1)), ("flat", rows.T)):
        mean, variance = told[name]
        torch.testing.assert_close(mean, values.mean(dim=1), rtol=0, atol=1e-12)
        torch.testing.assert_close(variance, values.var(dim=1), rtol=0, atol=1e-12)


def test_buffers_that_do_not_tell_of_one_batch_are_refused(digits):
    images = digits[0][:4]
    model = normed()
    before = {name: b.clone() for name, b in model.named_buffers()}
    with pytest.raises(ParameterError, match="counted 0 batches"):
        statistics_of_buffers(model, before, before)
    model(images)
    model(images)
    with pytest.raises(ParameterError, match="counted 2 batches"):
        statistics_of_buffers(model, before, dict(model.named_buffers()))
    with pytest.raises(ParameterError, match=r"norm\.running_mean"):
        statistics_of_buffers(model, {}, before)
    with pytest.raises(ParameterError, match="no batch norm"):
        statistics_of_buffers(nn.Linear(2, 2), {}, {})


def test_the_loss_is_zero_at_the_truth_and_not_elsewhere(observe, digits):
    images, labels = digits[0][:3], digits[1][:3]
    seen = watch(observe, images, labels)
    attack = GradInversion(smoothness=0.0, size=0.0, consistency=0.0)
    targets = {name: g[None] for name, g in seen.gradient.items()}
    one_hot = functional.one_hot(labels, 10).double()[None]
    replay = replay_of(seen.model, seen.gradient)
    objective = attack._objective(Group(seen, [seen], replay, targets, one_hot))
    turned = images.flip(3)
    values = objective(torch.stack([images, turned])[None])[0]
    assert float(values[0]) < 1e-20
    assert float(values[1]) > 1e-2
    # Both terms are zero at the truth, and both are not elsewhere.
    told = seen.batch_statistics
    assert float(statistics_gap(batch_statistics(replay, images), told)) < 1e-20
    assert float(statistics_gap(batch_statistics(replay, turned), told)) > 1e-3


def test_the_group_pulls_towards_its_mean_where_classes_differ(observe, digits, net):
    images = digits[0]
    guesses = torch.stack([images[:2], images[2:4]])[None]
    values = {}
    for labels in (torch.tensor([0, 1]), torch.tensor([1, 1])):
        seen = observe(net(), images[:2], labels)
        targets = {name: g[None] for name, g in seen.gradient.items()}
        one_hot = functional.one_hot(labels, 10).double()[None]
        replay = replay_of(seen.model, seen.gradient)
        group = Group(seen, [seen], replay, targets, one_hot)
        found = [
            GradInversion(consistency=weight)._objective(group)(guesses)[0]
            for weight in (0.0, 1.0)
        ]
        values[tuple(labels.tolist())] = found[1] - found[0]
    mean = guesses[0].mean(dim=0)
    pull = (guesses[0] - mean).square().mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(values[0, 1], pull)
    assert bool((values[1, 1] == 0).all())


def test_labels_are_the_lowest_rows_where_no_class_occurs_twice(net, observe, digits):
    images, labels = digits
    for start in range(0, 50, 10):  # ten digits in order, so distinct
        one = slice(start, start + 4)
        seen = observe(net(), images[one], labels[one])
        assert torch.equal(distinct_labels(seen, 0), labels[one].sort().values)
    twice = torch.tensor([0, 10, 20, 1])
    seen = observe(net(), images[twice], labels[twice])
    assert distinct_labels(seen, 0).tolist() == sorted(labels[twice].tolist())


def test_statistics_are_withheld_unless_declared(observe, digits):
    seen = watch(observe, digits[0][:3], digits[1][:3])
    for attack, granted in ((CosineTV(), False), (GradInversion(), True)):
        got = require(seen, attack.needs, uses=attack.uses, attack=attack.name)
        assert (got.batch_statistics is not None) is granted


@pytest.mark.parametrize(
    "statistics",
    [
        {},
        {"conv": (torch.zeros(6), torch.ones(6))},
        {"none": (torch.zeros(6), torch.ones(6))},
        {"norm": (torch.zeros(5), torch.ones(6))},
    ],
)
def test_statistics_of_no_batch_norm_are_refused(observe, digits, statistics):
    seen = observe(normed(), digits[0][:3], digits[1][:3])
    with pytest.raises(ObservationError):
        replace(seen, batch_statistics=statistics)


def attack_batches(attack, observe, digits, *, blind):
    """Return PSNR and null PSNR of four batches of four."""
    images, labels = digits
    places = [torch.arange(4) + 10 * i for i in range(4)]
    shallow = {"dtype": torch.float32, "deep": False}
    seen = [watch(observe, images[p], labels[p], **shallow) for p in places]
    if blind:
        seen = [with_random_gradient(one, seed=i) for i, one in enumerate(seen)]
        # Statistics of other records: what is known of this batch is then nothing.
        told = watch(observe, images[70:74], labels[70:74], **shallow)
        seen = [replace(s, batch_statistics=told.batch_statistics) for s in seen]
    values, nulls = [], []
    for i, found in enumerate(attack.run_many(seen, seeds=range(4))):
        truth = images[places[i]]
        others = other_records(images, truth, sets=20, seed=i)
        result = score(found.inputs, truth, others, value_range=(0.0, 1.0))
        values.append(result.psnr)
        nulls.append(result.psnr_null)
    return values, nulls


def test_batches_of_a_normed_net_come_back_above_their_null(observe, digits):
    attack = GradInversion(iterations=40, restarts=2)
    values, nulls = attack_batches(attack, observe, digits, blind=False)
    assert paired_excess(values, nulls).low > 5


def test_a_random_gradient_and_foreign_statistics_give_the_null(observe, digits):
    attack = GradInversion(iterations=25, restarts=2)
    values, nulls = attack_batches(attack, observe, digits, blind=True)
    excess = paired_excess(values, nulls, 0.99)
    assert excess.low <= 0.5 and excess.high < 3
