"""The loop of the searching attacks: the box, the best, and who is dropped when."""

import math

import pytest
import torch
from torch import Tensor

from attacks import ParameterError
from attacks.inversion.search import Schedule, Search, Sign, search

GOALS = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).double()  # (K, values)


def _bowl(guesses: Tensor) -> Tensor:
    return (guesses - GOALS[:, None, None]).square().sum(dim=(2, 3))


def _starts(restarts: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.rand((2, restarts, 1, 2), generator=draw).double()


def test_the_goal_of_each_target_is_found() -> None:
    settings = Search(iterations=120, step=0.05)
    found = search(_bowl, _starts(4), (0.0, 1.0), settings)
    torch.testing.assert_close(found.inputs[:, 0], GOALS, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.objective, _bowl(found.inputs[:, None])[:, 0])


def test_targets_do_not_influence_one_another() -> None:
    settings = Search(iterations=15, step=0.05)
    both = search(_bowl, _starts(4), (0.0, 1.0), settings)

    def second(guesses: Tensor) -> Tensor:
        return (guesses - GOALS[1]).square().sum(dim=(2, 3))

    alone = search(second, _starts(4)[1:], (0.0, 1.0), settings)
    assert torch.equal(both.inputs[1:], alone.inputs)


def test_half_of_the_guesses_are_dropped_at_each_halving_and_one_stays() -> None:
    widths: list[int] = []

    def watched(guesses: Tensor) -> Tensor:
        widths.append(guesses.shape[1])
        return _bowl(guesses)

    settings = Search(iterations=20, step=0.01, halvings=(0.1, 0.2, 0.3, 0.4))
    search(watched, _starts(5), None, settings)
    # After iterations 2, 4, 6 and 8.
    assert widths == [5] * 3 + [3] * 2 + [2] * 2 + [1] * 14


def test_the_worse_half_by_the_objective_is_dropped() -> None:
    start = torch.tensor([[[[0.26, 0.75]], [[0.9, 0.9]], [[0.2, 0.75]], [[1.0, 0]]]])
    seen: list[Tensor] = []

    def watched(guesses: Tensor) -> Tensor:
        seen.append(guesses.detach())
        return (guesses - GOALS[:1, None, None]).square().sum(dim=(2, 3))

    settings = Search(iterations=4, step=1e-9, halvings=(0.25,))
    search(watched, start.double(), (0.0, 1.0), settings)
    kept = seen[-1][0, :, 0]
    torch.testing.assert_close(kept, start[0, [0, 2], 0].double(), atol=1e-6, rtol=0)


def test_guesses_stay_in_the_box() -> None:
    def outwards(guesses: Tensor) -> Tensor:
        return -guesses.sum(dim=(2, 3))

    settings = Search(iterations=50, step=0.3)
    found = search(outwards, _starts(2), (0.0, 1.0), settings)
    assert found.inputs.max() == 1.0


def test_a_guess_without_a_finite_objective_is_not_returned() -> None:
    def broken(guesses: Tensor) -> Tensor:
        value = _bowl(guesses)
        return torch.where(torch.tensor([True, False]), math.nan, value)

    settings = Search(iterations=5, step=0.01, halvings=())
    start = _starts(2)
    found = search(broken, start, (0.0, 1.0), settings)
    assert bool(found.objective.isfinite().all())
    gap = (found.inputs - start[:, 1]).abs().max()
    assert gap < 0.06


def test_steps_shrink_tenfold_three_times() -> None:
    settings = Search(iterations=80, step=0.1)
    rates = [settings.rate(i) for i in (0, 29, 30, 50, 70, 79)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 1e-4, 1e-4])


def test_steps_warm_up_and_then_follow_half_a_cosine() -> None:
    settings = Search(iterations=80, step=0.1, schedule=Schedule.COSINE, warm_up=4)
    rates = [settings.rate(i) for i in range(80)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[40] == pytest.approx(0.05)
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[79] < 1e-4


def test_soft_signs_bound_large_slopes_at_first_and_none_at_the_end() -> None:
    slope = torch.tensor([-1e3, 1e-6, 5.0, math.nan]).double()
    soft = Search(iterations=100, step=1.0, sign=Sign.SOFT)
    expected = torch.tensor([-1.0, 1e-6, math.tanh(5.0), 0.0]).double()
    torch.testing.assert_close(soft.towards(slope, 0), expected)
    last = soft.towards(slope, 99)
    torch.testing.assert_close(
        last[1:], torch.tensor([1e-6, 5, 0]).double(), atol=0.01, rtol=0
    )
    hard = Search(iterations=100, step=1.0).towards(slope, 0)
    assert hard.tolist() == [-1, 1, 1, 0]
    plain = Search(iterations=100, step=1.0, sign=Sign.NONE).towards(slope, 0)
    assert torch.equal(plain, slope.nan_to_num())


@pytest.mark.parametrize("sign", list(Sign))
@pytest.mark.parametrize("schedule", list(Schedule))
def test_every_descent_finds_the_goal(sign: Sign, schedule: Schedule) -> None:
    settings = Search(iterations=120, step=0.05, sign=sign, schedule=schedule)
    found = search(_bowl, _starts(2), (0.0, 1.0), settings)
    torch.testing.assert_close(found.inputs[:, 0], GOALS, atol=0.02, rtol=0)


@pytest.mark.parametrize("halvings", [(0.2, 0.1), (0.1, 0.1), (0.0,), (1.0,)])
def test_halvings_that_do_not_rise_are_refused(halvings: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError):
        Search(iterations=5, step=0.1, halvings=halvings)
