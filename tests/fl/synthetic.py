"""Made-up data files with the shape and the flaws of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
