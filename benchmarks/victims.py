"""Victims of gradient inversion: nets, images, and what an attacker gets of them.

Nothing of ours is imported, so that a peer's own process can read and write the same
files. The true images are in none of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SHAPE, CLASSES = (3, 32, 32), 10
MEAN, SPREAD = 0.5, 0.25
RANGE = ((0 - MEAN) / SPREAD, (1 - MEAN) / SPREAD)
# Of our searches for images like these, in units of their range of values.
SMOOTHNESS, STEP = 0.2, 0.1
SMOOTHNESS_MODERN = 0.1 / SPREAD  # breaching's, whose units are those of its images
NETS = ("fc", "lenet", "conv")
_SMALLEST_SPREAD = 0.05  # a crop of bare sky says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Updates of one model that are to be attacked, each by itself.

    Attributes:
        attack: one of `ATTACKS` of `benchmarks.inversion`.
        net: one of `NETS`.
        model: seed of its weights.
        iterations: of the attack.
        gradients: (victims, weights) float32, laid end to end in the net's order.
        labels: (victims, records) int64, known to the attacker.
        starts: (victims, records, *SHAPE) float32, where a search begins.
    """

    attack: str
    net: str
    model: int
    iterations: int
    gradients: np.ndarray
    labels: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an attack found.

    Attributes:
        inputs: (victims, records, *SHAPE) float32, in the units of the starts.
        cpu_s: of all victims together, with all preparation.
    """

    inputs: np.ndarray
    cpu_s: float


def save(path: Path, held: Work | Answer) -> None:
    """Write either as .npz."""
    np.savez(path, **{name: getattr(held, name) for name in held.__slots__})


def load_work(path: Path) -> Work:
    """Read what `save` wrote of updates."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in Work.__slots__}
    single = {"attack": str, "net": str, "model": int, "iterations": int}
    return Work(**arrays | {name: kind(arrays[name]) for name, kind in single.items()})


def load_answer(path: Path) -> Answer:
    """Read what `save` wrote of an answer."""
    with np.load(path, allow_pickle=False) as file:
        return Answer(inputs=file["inputs"], cpu_s=float(file["cpu_s"]))


def build(name: str, seed: int) -> nn.Sequential:
    """Return an untrained net; torch's generator is left alone.

    Args:
        name: "fc" (3072-256-10), "lenet" (that of Zhu et al., NeurIPS 2019: sigmoids,
            weights uniform in +-0.5) or "conv" (three convolutions, 16 wide at first).
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "fc":
            return nn.Sequential(
                nn.Flatten(), nn.Linear(3072, 256), nn.ReLU(), nn.Linear(256, CLASSES)
            )
        if name == "conv":
            return nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1, stride=2),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, padding=1, stride=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(64 * 8 * 8, CLASSES),
            )
        layers: list[nn.Module] = []
        for channels, stride in ((3, 2), (12, 2), (12, 1)):
            layers += [nn.Conv2d(channels, 12, 5, padding=2, stride=stride)]
            layers += [nn.Sigmoid()]
        net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(768, CLASSES))
        for weight in net.parameters():
            nn.init.uniform_(weight, -0.5, 0.5)
        return net


def images(count: int) -> tuple[str, Tensor, Tensor]:
    """Return records in standardised units (count, *SHAPE), and labels.

    CIFAR-10's test images if `BLINDSUM_DATA` names a folder with its subset, and else
    32x32 crops of scikit-learn's two photographs, whose labels are drawn.

    Returns:
        What they are, the images, int64 labels.
    """
    rng = np.random.default_rng(0)
    folder = os.environ.get("BLINDSUM_DATA")
    path = Path(folder or "") / "cifar10_subset.npz"
    if folder and path.exists():
        with np.load(path, allow_pickle=False) as file:
            x, y = file["x_test"][:count], file["y_test"][:count].astype(np.int64)
        name = "CIFAR-10"
    else:
        x, y = _crops(rng, count), rng.integers(CLASSES, size=count)
        name = "crops of two photographs (BLINDSUM_DATA names no CIFAR-10)"
    records = torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2) / 255
    return name, (records - MEAN) / SPREAD, torch.tensor(y)


def gradient(net: nn.Module, records: Tensor, labels: Tensor) -> np.ndarray:
    """Return the gradient of one step's mean loss, laid end to end."""
    loss = functional.cross_entropy(net(records), labels)
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    return torch.cat([slope.reshape(-1) for slope in slopes]).numpy()


def apart(net: nn.Module, flat: np.ndarray) -> list[Tensor]:
    """Cut what `gradient` laid end to end into the shapes of the net's weights."""
    weights = list(net.parameters())
    parts = torch.from_numpy(flat).split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def _crops(rng: np.random.Generator, count: int) -> np.ndarray:
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    found: list[np.ndarray] = []
    while len(found) < count:
        whole = photographs[len(found) % 2]
        top, left = (int(rng.integers(side - 32)) for side in whole.shape[:2])
        crop = whole[top : top + 32, left : left + 32]
        if crop.std() / 255 >= _SMALLEST_SPREAD:
            found.append(crop)
    return np.stack(found)
