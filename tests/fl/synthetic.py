"""Made-up data files with the shape and the flaws of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from attacks import Adversary, Observation, save_observation

SITES = ("cleveland", "hungarian", "switzerland", "va")
HEADER = (
    "age, sex, cp, trestbps, chol, fbs, restecg, thalach, exang, oldpeak, slope, ca, "
    "thal, num"
)


def write_hospitals(folder: Path, *, records: int = 60) -> Path:
    """Write four sites of a heart-like table: one learnable signal, many holes."""
    for number, site in enumerate(SITES):
        rng = np.random.default_rng(number)
        lines = [HEADER]
        for _ in range(records + 7 * number):
            sick = int(rng.integers(0, 2))
            cells = [
                f"{rng.normal(54 + 6 * sick, 8):.1f}",
                str(rng.integers(0, 2)),
                str(rng.integers(1, 5)),
                f"{rng.normal(130, 15):.0f}",
                f"{rng.normal(240, 40):.0f}",
                str(rng.integers(0, 2)),
                str(rng.integers(0, 3)),
                f"{rng.normal(150 - 25 * sick, 15):.0f}",
                str(sick),
                f"{abs(rng.normal(sick, 0.5)):.1f}",
                str(rng.integers(1, 4)),
                str(rng.integers(0, 4)),
                str(rng.choice([3, 6, 7])),
                str(sick * int(rng.integers(1, 5))),
            ]
            for column in (3, 4, 10, 11, 12):
                if rng.random() < 0.1 * (number + 1):
                    cells[column] = "?"
            lines.append(",".join(cells))
        (folder / f"heart_{site}.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_mnist(folder: Path, *, train: int = 400, test: int = 150) -> Path:
    """Write a small mnist.npz: ten blurred templates, shifted and made noisy."""
    rng = np.random.default_rng(0)
    templates = rng.integers(0, 256, size=(10, 7, 7)).repeat(4, 1).repeat(4, 2)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 10, size=count)
        noise = rng.normal(0, 40, size=(count, 28, 28))
        return np.clip(templates[labels] + noise, 0, 255).astype(np.uint8), labels

    x_train, y_train = draw(train)
    x_test, y_test = draw(test)
    np.savez(
        folder / "mnist.npz",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
    )
    return folder


NETS = """from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3))


def fitted():
    return Net()
"""


def write_model(folder: Path, *, records: int = 80) -> None:
    """Write a model, its records in both kinds, references, scores and an update."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(records, 6)), rng.integers(0, 3, records)
    (folder / "nets.py").write_text(NETS)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3))
    torch.save(model.state_dict(), folder / "net.pt")
    head = ",".join([*(f"f{i}" for i in range(6)), "label"])
    inside = np.arange(records) < records // 2
    for name, side in (("members", inside), ("nonmembers", ~inside)):
        np.savez(folder / f"{name}.npz", x=x[side], y=y[side])
        lines = [
            ",".join([*(f"{value:.6f}" for value in row), str(label)])
            for row, label in zip(x[side], y[side], strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join([head, *lines]))
    scores = [f"{int(one)},{rng.normal():.4f}" for one in inside]
    (folder / "scores.csv").write_text("\n".join(["member,score", *scores]))
    references = folder / "references"
    references.mkdir()
    torch.save(model.state_dict(), references / "0.pt")
    (references / "membership.csv").write_text("\n".join(["0.pt", *["0"] * records]))
    save_observation(
        Observation(
            adversary=Adversary.SERVER,
            view="an update",
            model=model,
            gradient={name: p.detach() for name, p in model.named_parameters()},
            batch_size=None,
            steps=1,
            labels=None,
            input_shape=(6,),
            classes=3,
            value_range=(-5.0, 5.0),
        ),
        folder / "update.npz",
    )
