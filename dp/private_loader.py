"""Opacus' loader with coins from cryptographic bytes, at a public rate.

Opacus' own loader takes the rate from the number of batches, and so from the number of
records, which is private (Opacus issues 571 and 819); its coins come from torch's
generator, which can be predicted.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.data_loader import DPDataLoader, wrap_collate_with_empty
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from dp.errors import ParameterError

TAG: Final = b"blindsum/dp/1/sampling-coins/"
"""Before every seed, so that no seed serves two purposes; ends the fixed prefix."""

COIN_BITS: Final = 53


class Coins(UniformWithReplacementSampler):  # type: ignore[misc]
    """Draws each batch by a coin per record; an epoch has int(1 / rate) batches.

    Attributes:
        begun: called when an epoch begins, before its first batch is drawn.
    """

    def __init__(self, records: int, rate: float, seed: bytes | None) -> None:
        """Toss for so many records; a seed is for simulations, None for deployment."""
        super().__init__(num_samples=records, sample_rate=rate)
        self._seed, self._drawn = seed, 0
        self.begun: Callable[[], None] = _nobody
        # Rounded down: a record is sampled with the stated probability or less.
        self._below = math.floor(rate * 2**COIN_BITS)

    @property
    def drawn(self) -> int:
        """Return how many batches were drawn, some of them ahead of their use."""
        return self._drawn

    def __iter__(self) -> Iterator[list[int]]:
        self.begun()
        for _ in range(self.steps):
            words = self._words() >> np.uint64(64 - COIN_BITS)
            yield np.flatnonzero(words < self._below).tolist()

    def _words(self) -> NDArray[np.uint64]:
        size, batch = 8 * int(self.num_samples), self._drawn.to_bytes(8, "little")
        self._drawn += 1
        if self._seed is None:
            data = os.urandom(size)
        else:
            data = hashlib.shake_256(TAG + self._seed + b"/" + batch).digest(size)
        return np.frombuffer(data, dtype="<u8")


def _nobody() -> None:
    """Tell nobody."""


class SampledLoader(DPDataLoader):  # type: ignore[misc]
    """Opacus' loader with other coins, and a shape for a first batch that is empty."""

    def __init__(self, loader: DataLoader[Any], coins: Coins) -> None:
        """Read the same data as a loader of the caller's, batched by coins."""
        self.sample_rate, self.distributed = coins.sample_rate, False
        self.coins = coins
        collate = wrap_collate_with_empty(collate_fn=loader.collate_fn)
        # Of this batch nothing but shapes and types is ever looked at.
        collate.first_batch = loader.collate_fn([loader.dataset[0]])
        DataLoader.__init__(
            self,
            dataset=loader.dataset,
            batch_sampler=coins,
            collate_fn=collate,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )


def sampled_loader(
    loader: DataLoader[Any], rate: float, seed: bytes | None
) -> SampledLoader:
    """Return a loader that draws each record into a batch by a coin of its own.

    Raises:
        ParameterError: the caller's: the loader has a sampler or batches of its own,
            streams, or has no record.
    """
    if isinstance(loader, DPDataLoader):
        raise ParameterError(
            "The loader samples already; give the plain DataLoader that it was made of."
        )
    if isinstance(loader.dataset, IterableDataset):
        raise ParameterError(
            "The loader streams its records, so none can be drawn by a coin of its "
            "own; give a data set with a length and an index."
        )
    plain = isinstance(loader.sampler, SequentialSampler) or (
        isinstance(loader.sampler, RandomSampler) and not loader.sampler.replacement
    )
    if loader.batch_size is None or not plain:
        raise ParameterError(
            f"The loader's own sampler ({type(loader.sampler).__name__}) would be "
            "replaced by one coin per record at a public rate, which is what the "
            "accounting holds for; give a loader with batch_size and shuffle alone."
        )
    records = len(loader.dataset)  # type: ignore[arg-type]
    if not records:
        raise ParameterError("The loader has no record; there is nothing to train on.")
    return SampledLoader(loader, Coins(records, rate, seed))


def first_input(loader: DataLoader[Any]) -> torch.Tensor | None:
    """Return the input tensor of a batch's shape, or None if a batch has no such."""
    batch = loader.collate_fn([loader.dataset[0]])
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    return first if isinstance(first, torch.Tensor) else None
