import itertools
import math

import numpy as np
import pytest
import torch

from attacks import ScoringError, match, mse, psnr, score, ssim

UNIT = (0.0, 1.0)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def slow_ssim(x, y, data_range):
    """SSIM by loops over windows, straight from Wang et al. 2004."""
    size = min(11, *x.shape)
    size -= size % 2 == 0
    centre = (size - 1) / 2
    weights = {
        (r, c): math.exp(-((r - centre) ** 2 + (c - centre) ** 2) / (2 * 1.5**2))
        for r in range(size)
        for c in range(size)
    }
    total = sum(weights.values())
    values = []
    for top in range(x.shape[0] - size + 1):
        for left in range(x.shape[1] - size + 1):
            mx = my = 0.0
            for (r, c), w in weights.items():
                mx += w / total * x[top + r, left + c]
                my += w / total * y[top + r, left + c]
            vx = vy = cov = 0.0
            for (r, c), w in weights.items():
                dx, dy = x[top + r, left + c] - mx, y[top + r, left + c] - my
                vx += w / total * dx * dx
                vy += w / total * dy * dy
                cov += w / total * dx * dy
            c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
            values.append(
                (2 * mx * my + c1)
                * (2 * cov + c2)
                / ((mx * mx + my * my + c1) * (vx + vy + c2))
            )
    return float(np.mean(values))


@pytest.mark.parametrize("side", [(8, 8), (16, 13), (5, 20), (1, 4)])
@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_equals_the_loop_over_windows(side, data_range):
    x = draw(*side) * data_range
    y = (0.7 * x + 0.3 * draw(*side, seed=1) * data_range).clone()
    expected = slow_ssim(x.numpy(), y.numpy(), data_range)
    assert ssim(x, y, data_range=data_range) == pytest.approx(expected, abs=1e-10)
    both = ssim(torch.stack([x, x]), torch.stack([y, x]), data_range=data_range)
    assert both == pytest.approx((expected + 1) / 2, abs=1e-10)


def test_psnr_equals_its_definition_and_is_capped():
    x, y = draw(1, 8, 8), draw(1, 8, 8, seed=1)
    error = float(np.mean((x.numpy() - y.numpy()) ** 2))
    assert mse(x, y) == pytest.approx(error)
    assert psnr(x, y, data_range=2.0) == pytest.approx(10 * math.log10(4 / error))
    assert psnr(x, x, data_range=1.0) == 100.0
    assert psnr(x, x + 1e-9, data_range=1.0) == 100.0


@pytest.mark.parametrize(
    "sizes", [(n, m) for n in range(1, 6) for m in (1, 3, 5)], ids=str
)
def test_matching_is_the_cheapest_of_all_assignments(sizes):
    n, m = sizes
    a, b = draw(n, 4, seed=n), draw(m, 4, seed=10 + m)
    ours, theirs = match(a, b)
    assert len(ours) == len(theirs) == min(n, m)
    found = sum(mse(a[i], b[j]) for i, j in zip(ours, theirs, strict=True))
    if n <= m:
        ways = itertools.permutations(range(m), n)
        best = min(sum(mse(a[i], b[j]) for i, j in enumerate(p)) for p in ways)
    else:
        ways = itertools.permutations(range(n), m)
        best = min(sum(mse(a[i], b[j]) for j, i in enumerate(p)) for p in ways)
    assert found == pytest.approx(best, rel=1e-12)


def test_no_candidates_match_nothing():
    ours, theirs = match(torch.zeros((0, 3)), torch.zeros((2, 3)))
    assert (len(ours), len(theirs)) == (0, 0)


def test_one_exact_image_does_not_make_the_batch_infinite():
    truth = draw(4, 1, 8, 8)
    guess = torch.cat([truth[:1], draw(3, 1, 8, 8, seed=5)])
    result = score(guess, truth, [draw(4, 1, 8, 8, seed=9)], value_range=UNIT)
    assert math.isfinite(result.psnr) and 25 < result.psnr < 45
    assert result.exact == 0.25 and result.exact_null == 0.0
    assert result.n_records == 4


def test_the_order_of_candidates_does_not_matter():
    truth, nulls = draw(3, 1, 8, 8), [draw(3, 1, 8, 8, seed=2)]
    guess = truth + 0.05 * draw(3, 1, 8, 8, seed=1)
    one = score(guess, truth, nulls, value_range=UNIT)
    two = score(guess[[2, 0, 1]], truth[[1, 2, 0]], nulls, value_range=UNIT)
    assert one.psnr == pytest.approx(two.psnr) and one.ssim == pytest.approx(two.ssim)


def test_the_null_passes_through_the_same_scoring():
    truth, other = draw(3, 1, 8, 8), draw(3, 1, 8, 8, seed=1)
    guess = draw(3, 1, 8, 8, seed=2)
    forward = score(guess, truth, [other], value_range=UNIT)
    swapped = score(guess, other, [truth], value_range=UNIT)
    assert forward.psnr == swapped.psnr_null and forward.psnr_null == swapped.psnr
    assert forward.ssim == swapped.ssim_null and forward.exact == swapped.exact_null


def test_missing_reconstructions_count_as_the_middle_of_the_range():
    truth, other = draw(4, 1, 8, 8), draw(4, 1, 8, 8, seed=1)
    empty = score(torch.zeros(0, 1, 8, 8), truth, [other], value_range=UNIT)
    middle = [psnr(torch.full((1, 8, 8), 0.5), t, data_range=1.0) for t in truth]
    assert empty.psnr == pytest.approx(np.mean(middle))
    assert empty.exact == 0.0
    nearly = score(truth[:2], truth, [other], value_range=UNIT)
    assert nearly.exact == 0.5 and nearly.psnr < 60


def test_a_blank_that_was_not_submitted_is_never_exact():
    grey = torch.full((2, 1, 8, 8), 0.5)
    nulls = [draw(2, 1, 8, 8)]
    assert score(grey[:0], grey, nulls, value_range=UNIT).exact == 0.0
    assert score(grey, grey, nulls, value_range=UNIT).exact == 1.0


def test_non_finite_candidates_count_as_missing():
    truth, nulls = draw(2, 1, 8, 8), [draw(2, 1, 8, 8, seed=3)]
    broken = truth.clone()
    broken[1, 0, 0, 0] = float("nan")
    result = score(broken, truth, nulls, value_range=UNIT)
    assert result == score(truth[:1], truth, nulls, value_range=UNIT)
    with pytest.raises(ScoringError):
        match(broken, truth)


def test_more_candidates_than_records_are_allowed():
    truth = draw(2, 1, 8, 8)
    guess = torch.cat([draw(5, 1, 8, 8, seed=4), truth])
    result = score(guess, truth, [draw(2, 1, 8, 8, seed=6)], value_range=UNIT)
    assert result.exact == 1.0 and result.psnr == 100.0


def test_exact_means_the_largest_error():
    truth = torch.zeros(1, 1, 8, 8)
    nulls = [draw(1, 1, 8, 8)]
    for error, exact in ((0.9e-3, 1.0), (1.1e-3, 0.0)):
        guess = truth.clone()
        guess[0, 0, 3, 3] = error
        assert score(guess, truth, nulls, value_range=UNIT).exact == exact


def test_tabular_records_have_no_ssim():
    truth = draw(3, 13)
    result = score(truth, truth, [draw(3, 13, seed=1)], value_range=(-3.0, 3.0))
    assert result.ssim is None and result.ssim_null is None and result.exact == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: psnr(draw(3), draw(4), data_range=1.0),
        lambda: psnr(draw(3), draw(3), data_range=0.0),
        lambda: ssim(draw(3), draw(3), data_range=1.0),
        lambda: match(draw(2, 3), draw(2, 4)),
        lambda: score(draw(1, 3), draw(1, 3), [], value_range=UNIT),
        lambda: score(draw(1, 3), draw(1, 3), [draw(2, 3)], value_range=UNIT),
        lambda: score(draw(1, 3), draw(0, 3), [draw(0, 3)], value_range=UNIT),
        lambda: score(draw(1, 3), draw(1, 3), [draw(1, 3)], value_range=(1.0, 0.0)),
    ],
)
def test_what_does_not_fit_together_is_refused(call):
    with pytest.raises(ScoringError):
        call()
