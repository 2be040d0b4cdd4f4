from dataclasses import replace

import pytest
import torch

from attacks import (
    MissingKnowledge,
    ParameterError,
    ScoringError,
    mean_record,
    other_records,
    with_foreign_gradient,
    with_random_gradient,
)


def test_null_sets_never_hold_a_true_record(digits):
    images, _ = digits
    truth = torch.cat([images[5:8], images[5:6]])
    drawn = other_records(images[:30], truth, sets=6, seed=0)
    assert [len(null) for null in drawn] == [4] * 6
    for null in drawn:
        gaps = (null[:, None] - truth[None]).abs().amax(dim=(2, 3, 4))
        assert float(gaps.min()) > 0


def test_null_sets_repeat_no_record_while_the_pool_lasts():
    pool = torch.arange(20.0)[:, None]
    drawn = other_records(pool, pool[:4], sets=4, seed=1)
    seen = torch.cat(drawn).flatten().tolist()
    assert len(set(seen)) == 16
    again = other_records(pool, pool[:4], sets=50, seed=1)
    assert all(len(set(null.flatten().tolist())) == 4 for null in again)


def test_null_sets_follow_the_seed():
    pool = torch.arange(20.0)[:, None]
    one, two, other = (other_records(pool, pool[:2], sets=2, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.cat(one), torch.cat(two))
    assert not torch.equal(torch.cat(one), torch.cat(other))


def test_a_pool_without_enough_others_is_refused():
    pool = torch.arange(5.0)[:, None]
    with pytest.raises(ScoringError):
        other_records(pool, pool[:3], sets=1, seed=0)
    with pytest.raises(ScoringError):
        other_records(pool, torch.zeros(1, 2), sets=1, seed=0)
    with pytest.raises(ParameterError):
        other_records(pool, pool[:1], sets=0, seed=0)


def test_the_mean_record_is_the_mean(digits):
    images, _ = digits
    found = mean_record(images, count=3)
    assert found.shape == (3, 1, 8, 8)
    torch.testing.assert_close(found[2], images.sum(dim=0) / len(images))
    with pytest.raises(ParameterError):
        mean_record(images[:0], count=1)


def test_a_random_gradient_keeps_norms_and_nothing_else(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1])
    blind = with_random_gradient(seen, seed=0)
    for name, tensor in seen.gradient.items():
        other = blind.gradient[name]
        assert float(other.norm()) == pytest.approx(float(tensor.norm()))
        cosine = float((other * tensor).sum() / tensor.norm() ** 2)
        assert abs(cosine) < 5 / tensor.numel() ** 0.5


def test_a_foreign_gradient_brings_no_labels(net, observe, digits):
    images, labels = digits
    seen = observe(net(), images[:1], labels[:1], knows_labels=True)
    foreign = observe(net(), images[1:2], labels[1:2])
    blind = with_foreign_gradient(seen, foreign.gradient)
    assert blind.labels is None
    assert torch.equal(blind.gradient["1.bias"], foreign.gradient["1.bias"])
    with pytest.raises(MissingKnowledge):
        with_random_gradient(replace(seen, gradient=None), seed=0)
