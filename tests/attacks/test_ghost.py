"""Comparison through activations: equal to autograd, and never where it is not."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from attacks.inversion.distance import _by_gradients, cosine_distance
from attacks.inversion.ghost import ghost_of
from attacks.inversion.replay import Replay, replay_of

SHAPE = (1, 4, 4)


def _replay(model: nn.Module, names: list[str] | None = None) -> Replay:
    wanted = dict(model.named_parameters())
    return replay_of(model, {n: wanted[n] for n in names or list(wanted)})


def _net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 5, bias=False), nn.ELU())
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(5, 3)).double()


def _problem(replay: Replay) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return guesses (K, R, B), labels and targets, all drawn."""
    draw = torch.Generator().manual_seed(1)
    guesses = torch.rand((2, 3, 4, *SHAPE), generator=draw).double()
    labels = torch.rand((2, 4, 3), generator=draw).double().softmax(dim=2)
    targets = {
        name: torch.randn((2, *w.shape), generator=draw).double()
        for name, w in replay.weights.items()
    }
    return guesses, labels, targets


def _oracle(
    replay: Replay, guess: Tensor, labels: Tensor, target: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Write the gradient out, record by record, and compare."""
    total = {name: torch.zeros_like(w) for name, w in replay.weights.items()}
    for record, label in zip(guess, labels, strict=True):
        one = replay.gradient(record[None], label[None], differentiable=False)
        total = {name: total[name] + one[name] / len(guess) for name in total}
    flat = torch.cat([total[name].flatten() for name in target])
    return flat @ torch.cat([t.flatten() for t in target.values()]), flat @ flat


@pytest.mark.parametrize("names", [None, ["1.weight"], ["3.weight", "5.bias"]])
def test_products_equal_those_of_written_gradients(names: list[str] | None) -> None:
    replay = _replay(_net(), names)
    guesses, labels, targets = _problem(replay)
    ghost = ghost_of(replay, SHAPE)
    assert ghost is not None
    dots, squares = ghost.products(guesses, labels, targets)
    for k in range(2):
        target = {name: t[k] for name, t in targets.items()}
        for r in range(3):
            dot, square = _oracle(replay, guesses[k, r], labels[k], target)
            torch.testing.assert_close(dots[k, r], dot, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(squares[k, r], square, rtol=1e-10, atol=1e-12)


def test_distance_and_slope_equal_autograd() -> None:
    replay = _replay(_net())
    guesses, labels, targets = _problem(replay)
    lengths = [t.flatten(1).square().sum(dim=1) for t in targets.values()]
    length = torch.stack(lengths).sum(dim=0).sqrt()
    units = {n: t / length.reshape(2, *[1] * (t.dim() - 1)) for n, t in targets.items()}
    found = []
    for distance in (
        cosine_distance(replay, targets, labels, SHAPE),
        _by_gradients(replay, units, labels),
    ):
        free = guesses.clone().requires_grad_(True)
        value = distance(free)
        found.append((value.detach(), torch.autograd.grad(value.sum(), free)[0]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-8, atol=1e-12)


class _Twice(nn.Module):
    """One layer that every record goes through twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        once = torch.tanh(self.inner(x.flatten(1)))
        return torch.as_tensor(self.outer(torch.tanh(self.inner(once))))


class _Rows(nn.Module):
    """A linear layer over the rows of an image: a sequence of inputs per record."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.head = nn.Linear(4, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(torch.tanh(self.row(x[:, 0])).flatten(1)))


class _Scaled(nn.Linear):
    """Looks like a linear layer, and is none."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16, affine=False), nn.Linear(16, 3)),
        nn.Sequential(nn.Flatten(), _Scaled(16, 3)),
        _Twice(),
        _Rows(),
    ],
    ids=["convolution", "batch statistics", "subclass", "called twice", "sequence"],
)
def test_other_models_are_left_to_autograd(model: nn.Module) -> None:
    assert ghost_of(_replay(model.double()), SHAPE) is None


def test_a_wrong_comparison_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = _replay(_net())
    assert ghost_of(replay, SHAPE) is not None
    monkeypatch.setattr(
        "attacks.inversion.ghost._compare",
        lambda a, d, *_: (d.sum(dim=(2, 3)), d.square().sum(dim=(2, 3))),
    )
    assert ghost_of(replay, SHAPE) is None
