"""SPEAR on batches of twelve digits, on one core, and beside the paper's own setting.

Each victim is a fresh network and a fresh batch; a batch counts as exact if all of its
records come back with an error of at most 1e-8 and a certificate. CPU seconds are
`process_time`, with one thread. The published setting is a fully connected network of
six layers of 200 units, untrained, with batches of 20 (arXiv 2403.03945, section 6),
whose every pixel channel is standardised, or left in [0, 1].

No peer is measured: no other implementation could be had.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from attacks import (
    Adversary,
    Certificate,
    Observation,
    Reconstruction,
    Spear,
    clopper_pearson,
)
from attacks.inversion.spear_directions import from_rows

EXACT = 1e-8
WIDTHS = (200, 1000)
PUBLISHED_BATCH, PUBLISHED_WIDTH, PUBLISHED_DEPTH = 20, 200, 6
_DRAWS_TIMED = 16384

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One batch: whether it is exact, whether the attack says so, and CPU seconds."""

    exact: bool
    certified: bool
    cpu_s: float


def spear_batch12(victims: int = 20, *, batch: int = 12) -> Figures:
    """Attack `victims` batches of digits for each width; return the figures.

    `spear_batch12_exact` is the fraction of all batches that are exact, and
    `spear_batch12_cpu_s` the longest that any took.
    """
    torch.set_num_threads(1)
    figures: Figures = {}
    every: list[Trial] = []
    x, y = _digits()
    for width in WIDTHS:
        trials = [
            attack(*victim(x, y, batch, width, depth=3, seed=seed))
            for seed in range(victims)
        ]
        _report(f"digits, batch {batch}, width {width}", trials)
        figures[f"spear_batch{batch}_cpu_s_m{width}"] = median(t.cpu_s for t in trials)
        figures[f"spear_draws_per_s_m{width}"] = draws_per_s(width, batch)
        every += trials
    figures[f"spear_batch{batch}_exact"] = sum(t.exact for t in every) / len(every)
    figures[f"spear_batch{batch}_cpu_s"] = max(t.cpu_s for t in every)
    figures[f"spear_batch{batch}_victims"] = float(len(every))
    return figures


def published(victims: int = 100) -> Figures:
    """Attack MNIST and CIFAR-10 as the paper does; data sets not at hand are left out.

    Each name ends in the data set and, if pixels are standardised, in `_std`.
    """
    torch.set_num_threads(1)
    figures: Figures = {}
    for name, x, y in _archives():
        trials = [
            attack(*victim(x, y, PUBLISHED_BATCH, PUBLISHED_WIDTH, seed=seed))
            for seed in range(victims)
        ]
        found = _report(f"{name}, batch {PUBLISHED_BATCH}", trials)
        figures |= {f"{key}_{name}": value for key, value in found.items()}
    return figures


def victim(
    x: Tensor,
    y: Tensor,
    batch: int,
    width: int,
    *,
    depth: int = PUBLISHED_DEPTH,
    seed: int,
) -> tuple[Observation, Tensor]:
    """Observe one step of an untrained network on a batch drawn by `seed`."""
    chosen = np.random.default_rng(seed).choice(len(x), batch, replace=False)
    records, labels = x[chosen].flatten(1).double(), y[chosen]
    torch.manual_seed(seed)
    sizes = [records.shape[1], *[width] * (depth - 1)]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10)).double()
    loss = functional.cross_entropy(model(records), labels)
    names = [name for name, _ in model.named_parameters()]
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    seen = Observation(
        adversary=Adversary.SERVER,
        view="one client's update",
        model=model,
        gradient=dict(zip(names, gradient, strict=True)),
        batch_size=batch,
        steps=1,
        labels=None,
        input_shape=(records.shape[1],),
        classes=10,
        value_range=None,
    )
    return seen, records


def attack(seen: Observation, truth: Tensor) -> Trial:
    """Attack one batch and compare with the truth."""
    began = time.process_time()
    found = Spear().run(seen, seed=0)
    return Trial(
        exact=is_exact(found, truth),
        certified=found.certificate is Certificate.CERTIFIED,
        cpu_s=time.process_time() - began,
    )


def is_exact(found: Reconstruction, truth: Tensor) -> bool:
    """Tell whether every true record has a candidate of its own within EXACT."""
    if len(found.inputs) != len(truth):
        return False
    gaps = torch.stack(
        [(found.inputs - record).abs().amax(dim=1) for record in truth], dim=1
    )
    rows, columns = linear_sum_assignment(gaps.numpy())
    return float(gaps[rows, columns].max()) <= EXACT


def draws_per_s(width: int, batch: int) -> float:
    """Return how many choices of b - 1 rows one core solves in a second."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((width, batch), generator=generator, dtype=torch.float64)
    began = time.process_time()
    from_rows(rows, _DRAWS_TIMED, generator)
    return _DRAWS_TIMED / (time.process_time() - began)


def _report(name: str, trials: list[Trial]) -> Figures:
    certified = sum(t.certified for t in trials)
    exact = sum(t.exact for t in trials)
    share = clopper_pearson(exact, len(trials))
    seconds = [t.cpu_s for t in trials]
    print(
        f"{name}: {exact}/{len(trials)} exact [{share.low:.3f}, {share.high:.3f}], "
        f"{certified} certified; CPU s median {median(seconds):.2f}, "
        f"most {max(seconds):.2f}",
        flush=True,
    )
    wrong = sum(t.certified and not t.exact for t in trials)
    return {
        "exact": exact / len(trials),
        "exact_low": share.low,
        "exact_high": share.high,
        "certified_but_wrong": float(wrong),
        "cpu_s": median(seconds),
    }


def _digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    return torch.tensor(found.images / 16.0), torch.tensor(found.target)


def _archives() -> Iterator[tuple[str, Tensor, Tensor]]:
    folder = os.environ.get("BLINDSUM_DATA")
    for name, file in (("mnist", "mnist"), ("cifar10", "cifar10_subset")):
        path = Path(folder or "") / f"{file}.npz"
        if not folder or not path.exists():
            print(f"{name}: left out; BLINDSUM_DATA names no folder with its file.")
            continue
        with np.load(path, allow_pickle=False) as archive:
            x = torch.tensor(archive["x_train"][:10_000], dtype=torch.float32) / 255
            y = torch.tensor(archive["y_train"][:10_000].astype(np.int64))
        yield name, x, y
        channels = tuple(range(3))
        mean, spread = x.mean(dim=channels), x.std(dim=channels, correction=0)
        yield f"{name}_std", (x - mean) / spread, y
