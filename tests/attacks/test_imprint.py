"""A layer of bins gives every record that is alone in one, and no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attacks import Certificate, ParameterError, mean_interval
from attacks.inversion import Imprinted, ImprintInversion, equal_cuts

BINS = 32


def _model(seed: int, entries: int = 20) -> Imprinted:
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(entries, 10)).double()
    v = torch.randn(entries, dtype=torch.float64)
    v /= v.norm()  # of normal records the measure is normal, too
    share = (torch.arange(BINS, dtype=torch.float64) / BINS).clamp(min=1e-12)
    return Imprinted(inner, v, torch.special.ndtri(share))


def _batch(
    seed: int, size: int, entries: int = 20
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1000 + seed)
    x = torch.randn(size, entries, dtype=torch.float64)
    return x, torch.randint(0, 10, (size,))


def _alone(model: Imprinted, x: torch.Tensor) -> torch.Tensor:
    """Oracle: the records whose bin nobody else is in, by counting."""
    cuts, v = -model.imprint.bias.detach(), model.imprint.weight[0].detach()
    places = [int((float(row @ v) > cuts).sum()) for row in x]
    return x[[places.count(one) == 1 for one in places]]


def _found(inputs: torch.Tensor, truth: torch.Tensor) -> int:
    return sum(
        bool((inputs - one).abs().max(dim=1).values.min() < 1e-7) for one in truth
    )


@pytest.mark.parametrize("size", [1, 8, 24])
def test_every_record_that_is_alone_in_its_bin_is_exact(observe, size: int) -> None:
    model, (x, y) = _model(size), _batch(size, size)
    seen = observe(model, x, y, value_range=None)
    got = ImprintInversion().run(seen, seed=0)
    alone = _alone(model, x)
    assert _found(got.inputs, alone) == len(alone)
    assert _found(got.inputs, x) == len(alone)
    assert (got.certificate is Certificate.CERTIFIED) == (len(alone) == size)


def test_as_many_are_alone_as_probability_says(observe) -> None:
    size, counts = 16, []
    for seed in range(60):
        model, (x, y) = _model(seed), _batch(seed, size)
        got = ImprintInversion().run(observe(model, x, y, value_range=None), seed=0)
        counts.append(float(_found(got.inputs, x)))
    expected = size * (1 - 1 / BINS) ** (size - 1)
    interval = mean_interval(counts, 0.999)
    assert interval.low < expected < interval.high


def test_a_sum_over_clients_hides_nobody(observe) -> None:
    model, (x, y) = _model(3), _batch(3, 12)
    together = observe(model, x, y, clients=4, value_range=None)
    got = ImprintInversion().run(together, seed=0)
    assert _found(got.inputs, x) == len(_alone(model, x)) > 0


def test_cuts_from_records_of_the_servers_own_spread_digits(observe, digits) -> None:
    images, labels = digits
    inner = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    v = torch.full((64,), 1 / 64, dtype=torch.float64)
    model = Imprinted(inner, v, equal_cuts(images[800:].flatten(1) @ v, 64))
    got = ImprintInversion().run(observe(model, images[:8], labels[:8]), seed=0)
    flat = got.inputs.flatten(1)
    assert _found(flat, images[:8].flatten(1)) == len(
        _alone(model, images[:8].flatten(1))
    )


def test_noise_and_masks_cost_the_certificate_and_the_records(observe) -> None:
    model, (x, y) = _model(5), _batch(5, 4)
    bare = observe(model, x, y, value_range=None)
    size = max(float(g.abs().max()) for g in bare.gradient.values())
    for loud in (1e-3 * size, 1e6 * size):
        torch.manual_seed(0)
        noised = {n: g + loud * torch.randn_like(g) for n, g in bare.gradient.items()}
        hidden = type(bare)(
            **{
                name: getattr(bare, name)
                for name in ("adversary", "view", "model", "batch_size", "steps")
            },
            labels=None,
            gradient=noised,
            input_shape=bare.input_shape,
            classes=10,
            value_range=None,
        )
        got = ImprintInversion().run(hidden, seed=0)
        assert got.certificate is not Certificate.CERTIFIED
        assert _found(got.inputs, x) == 0


def test_an_honest_model_and_odd_cuts_are_refused(net, observe, digits) -> None:
    images, labels = digits
    got = ImprintInversion().run(observe(net(), images[:2], labels[:2]), seed=0)
    assert got.certificate is Certificate.REFUSED
    v = torch.ones(3, dtype=torch.float64)
    for cuts in ([1.0], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ParameterError, match="cuts"):
            Imprinted(nn.Identity(), v, torch.tensor(cuts))
    with pytest.raises(ParameterError, match="bins"):
        equal_cuts(torch.zeros(3), 9)


def test_bins_of_equal_probability_hold_equally_many() -> None:
    rng = np.random.default_rng(0)
    cuts = equal_cuts(torch.from_numpy(rng.normal(size=4000)), 8)
    held = np.searchsorted(cuts.numpy(), rng.normal(size=4000)) - 1
    counts = np.bincount(held, minlength=8)
    assert np.abs(counts - 500).max() < 100
