"""Victims for the attack tests: digits, small nets, and honest observations of them."""

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from attacks import Adversary, Observation

Net = Callable[..., nn.Module]
Observe = Callable[..., Observation]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """All 1797 digits in [0, 1], (N, 1, 8, 8) float64, and their classes."""
    found = load_digits()
    images = torch.tensor(found.images / 16.0).reshape(-1, 1, 8, 8)
    return images, torch.tensor(found.target)


@pytest.fixture
def net() -> Net:
    """Build a seeded MLP; `hidden=()` gives softmax regression."""

    def build(
        *,
        hidden: tuple[int, ...] = (64,),
        classes: int = 10,
        inputs: int = 64,
        act: type[nn.Module] = nn.ReLU,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> nn.Module:
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for size in hidden:
            layers += [nn.Linear(inputs, size), act()]
            inputs = size
        layers.append(nn.Linear(inputs, classes))
        return nn.Sequential(*layers).to(dtype)

    return build


@pytest.fixture
def observe() -> Observe:
    """Observe one honest step of mean cross-entropy on the given records."""

    def look(
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        classes: int = 10,
        clients: int = 1,
        knows_batch: bool = True,
        knows_labels: bool = False,
        value_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> Observation:
        dtype = next(model.parameters()).dtype
        names = [name for name, _ in model.named_parameters()]
        loss = functional.cross_entropy(model(inputs.to(dtype)), labels)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        return Observation(
            adversary=Adversary.SERVER,
            view="one client's update" if clients == 1 else f"sum of {clients} updates",
            model=model,
            gradient=dict(zip(names, gradient, strict=True)),
            batch_size=len(inputs) // clients if knows_batch else None,
            steps=1,
            labels=labels if knows_labels else None,
            input_shape=tuple(inputs.shape[1:]),
            classes=classes,
            value_range=value_range,
            clients_summed=clients,
        )

    return look
