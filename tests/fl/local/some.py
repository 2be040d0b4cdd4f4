"""Models of every kind and clients of every size, for the tests of local training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fl.local import Member
from fl.models import build
from fl.settings import ModelConfig

CLASSES = 3

MODELS = {
    "logreg": (ModelConfig(kind="logreg"), (6,)),
    "mlp": (ModelConfig(hidden=(9, 5)), (6,)),
    "images": (ModelConfig(hidden=(7,)), (1, 4, 4)),
    "cnn": (ModelConfig(kind="cnn"), (2, 8, 8)),
}


def model_of(kind: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    config, shape = MODELS[kind]
    return build(config, shape, CLASSES, seed), shape


def members(
    sizes: Sequence[int], shape: tuple[int, ...] = (6,), seed: int = 0
) -> list[Member]:
    rng = torch.Generator().manual_seed(seed)
    found = []
    for client, size in enumerate(sizes):
        x = torch.rand(size, *shape, generator=rng)
        y = torch.randint(CLASSES, (size,), generator=rng)
        found.append(Member(x, y, (client + 1) * 2**40 + seed))
    return found


class Pure(nn.Module):
    """A forward of its own that treats every record alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + torch.tanh(self.inner(x)))


class Branching(Pure):
    """Looks at values, which a stack does not have one by one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) > 1 else self.out(x)


class Mixing(Pure):
    """Centres the batch: a record's output depends on the others."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


class Noisy(Pure):
    """Draws without a layer that says so."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.dropout(self.inner(x), 0.5, self.training))


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    model[1].register_forward_hook(lambda _module, _given, out: 2 * out)
    return model


def repeated() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(6, CLASSES))


def dropping(p: float) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(p), nn.Linear(8, CLASSES))


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, CLASSES),
    )
