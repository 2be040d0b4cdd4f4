"""Several local steps, repeated on guesses: exact at the truth, and worth the work."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from attacks import (
    Adversary,
    Certificate,
    CosineTV,
    LocalCounts,
    LocalSteps,
    Observation,
    ObservationError,
    other_records,
    paired_excess,
    require,
    score,
    with_random_gradient,
)
from attacks.inversion.localsteps import _merged, epochs_apart
from attacks.inversion.replay import replay_of
from attacks.inversion.unroll import LocalSGD, unrolled


def train(model, images, labels, *, orders, batch, lr, momentum=0.0):
    """Observe local SGD by torch's own optimiser; one row of `orders` per epoch."""
    client = copy.deepcopy(model)
    optimiser = torch.optim.SGD(client.parameters(), lr=lr, momentum=momentum)
    batches = [part for order in orders for part in order.split(batch)]
    for part in batches:
        optimiser.zero_grad()
        inputs = images[part].to(next(model.parameters()).dtype)
        functional.cross_entropy(client(inputs), labels[part]).backward()
        optimiser.step()
    moved = dict(client.named_parameters())
    return Observation(
        adversary=Adversary.SERVER,
        view="one client's update",
        model=model,
        gradient={
            name: (before - moved[name]).detach() / (lr * len(batches))
            for name, before in model.named_parameters()
        },
        batch_size=batch,
        steps=len(batches),
        epochs=len(orders),
        labels=None,
        input_shape=(1, 8, 8),
        classes=10,
        value_range=(0.0, 1.0),
        lr=lr,
        momentum=momentum,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch", [2, 4])
def test_the_unrolled_update_of_the_truth_is_the_observed_one(
    net, digits, momentum, batch
):
    images, labels = digits[0][:4], digits[1][:4]
    orders = (torch.tensor([2, 0, 3, 1]), torch.tensor([1, 3, 2, 0]))
    training = {"lr": 0.5, "momentum": momentum}
    seen = train(net(), images, labels, orders=orders, batch=batch, **training)
    update = unrolled(
        replay_of(seen.model, seen.gradient), LocalSGD(steps=seen.steps, **training)
    )
    one_hot = functional.one_hot(labels, 10).double()
    gaps = []
    for order in (
        torch.cat(orders),
        torch.cat(orders[::-1]),
        torch.arange(4).repeat(2),
    ):
        found = update(images[order], one_hot[order])
        gaps.append(
            max(float((found[n] - g).abs().max()) for n, g in seen.gradient.items())
        )
    assert gaps[0] < 1e-8
    # Another order is another update, but not where a step holds the whole epoch.
    assert (min(gaps[1:]) > 1e-4) is (batch == 2)


def test_epochs_in_any_order_are_not_apart_and_others_are(digits):
    images = digits[0]
    order = torch.tensor([2, 0, 1])
    same = torch.cat([images[:3], images[:3][order]])[None, None]
    other = torch.cat([images[:3], images[3:6]])[None, None]
    assert float(epochs_apart(same, 2)) == 0
    assert float(epochs_apart(other, 2)) > 0.01
    shuffled = torch.cat([images[:3][order], images[3:6]])[None, None]
    torch.testing.assert_close(epochs_apart(other, 2), epochs_apart(shuffled, 2))


def test_epochs_are_merged_in_the_order_of_the_first(net, digits):
    images, labels = digits[0][:4], digits[1][:4]
    order = torch.tensor([3, 1, 0, 2])
    rows = (torch.arange(4), order)
    seen = train(net(), images, labels, orders=rows, batch=2, lr=0.1)
    both = torch.cat([images, images[order] + 0.2]), torch.cat([labels, labels[order]])
    inputs, classes = _merged(seen, *both)
    torch.testing.assert_close(inputs, images + 0.1)
    assert torch.equal(classes, labels)


def attack_clients(attack, net, digits, *, as_one=False, blind=False):
    """Return PSNR and null PSNR of six clients that took two steps on two records."""
    images, labels = digits
    model, both = net(dtype=torch.float32), (torch.arange(2), torch.arange(2))
    places = [slice(2 * i, 2 * i + 2) for i in range(6)]
    seen = [
        train(model, images[p], labels[p], orders=both, batch=2, lr=1.0) for p in places
    ]
    if as_one:
        seen = [replace(one, steps=1, epochs=1) for one in seen]
    if blind:
        seen = [with_random_gradient(one, seed=i) for i, one in enumerate(seen)]
    values, nulls = [], []
    for i, found in enumerate(attack.run_many(seen, seeds=range(6))):
        others = other_records(images, images[places[i]], sets=20, seed=i)
        result = score(found.inputs, images[places[i]], others, value_range=(0.0, 1.0))
        values.append(result.psnr)
        nulls.append(result.psnr_null)
    return values, nulls


def test_unrolling_two_steps_beats_matching_them_as_one(net, digits):
    settings = {"iterations": 60, "restarts": 2}
    values, nulls = attack_clients(LocalSteps(**settings), net, digits)
    as_one, _ = attack_clients(CosineTV(**settings), net, digits, as_one=True)
    assert paired_excess(values, nulls).low > 10
    assert paired_excess(values, as_one).low > 5


def test_unrolled_steps_are_at_their_null_on_a_random_gradient(net, digits):
    attack = LocalSteps(iterations=25, restarts=2)
    values, nulls = attack_clients(attack, net, digits, blind=True)
    excess = paired_excess(values, nulls, 0.99)
    assert excess.low <= 0.5 and excess.high < 3


def test_batches_in_an_unknown_order_come_back_as_one_epoch(net, digits):
    images, labels = digits[0][:2], digits[1][:2]
    rows = (torch.tensor([0, 1]), torch.tensor([1, 0]))
    seen = train(net(), images, labels, orders=rows, batch=1, lr=0.3)
    attack = LocalSteps(iterations=8, restarts=3)
    one, two, other = (attack.run(seen, seed=s) for s in (1, 1, 2))
    assert one.inputs.shape == (2, 1, 8, 8) and sorted(one.labels.tolist()) == [0, 1]
    assert torch.equal(one.inputs, two.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    told = replace(seen, labels=labels)
    assert torch.equal(attack.run(told, seed=1).labels, labels)


def test_labels_are_those_that_a_counter_counts(net, digits):
    images, labels = digits[0][:4], torch.tensor([3, 3, 3, 7])

    def repeat(model, inputs, classes, *, seed):
        rows = [torch.arange(len(inputs))]
        return train(model, inputs, classes, orders=rows, batch=2, lr=0.5).gradient

    # Alike records of known classes: what the counter needs to be right here.
    counter = LocalCounts(inputs=digits[0][:100], labels=digits[1][:100], train=repeat)
    seen = train(net(), images, labels, orders=[torch.arange(4)], batch=2, lr=0.5)
    counted = counter.run(seen, seed=0).counts
    found = LocalSteps(iterations=2, restarts=1, counter=counter).run(seen, seed=0)
    assert torch.equal(torch.bincount(found.labels, minlength=10), counted)


def test_what_cannot_be_unrolled_is_refused(net, observe, digits):
    images, labels = digits[0][:4], digits[1][:4]
    seen = train(net(), images, labels, orders=[torch.arange(4)], batch=2, lr=0.1)
    of_one_step = {"labels": labels[:2]}
    for refusal in ({"clients_summed": 2}, {"epochs": 3}, of_one_step):
        found = LocalSteps(iterations=2).run(replace(seen, **refusal), seed=0)
        assert found.certificate is Certificate.REFUSED and found.reason
    zero = {name: g * 0 for name, g in seen.gradient.items()}
    found = LocalSteps(iterations=2).run(replace(seen, gradient=zero), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_labels_of_an_epoch_reach_only_those_who_know_its_steps(net, digits):
    images, labels = digits[0][:4], digits[1][:4]
    seen = train(net(), images, labels, orders=[torch.arange(4)], batch=2, lr=0.1)
    seen = replace(seen, labels=labels)
    for attack, granted in ((LocalSteps(), True), (CosineTV(), False)):
        got = require(seen, attack.needs, uses=attack.uses, attack=attack.name)
        assert (got.labels is not None) is granted
    with pytest.raises(ObservationError):
        replace(seen, labels=labels[:3])
