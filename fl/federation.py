"""The clients of one repetition and their prepared data.

Split, partition, and what is learnt from the data before training all happen here; the
latter through the protection's own aggregator, so that preparing the data leaks no more
than the protection allows; where that is nothing, declared bounds take its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import secagg
from fl.config import Config
from fl.data import Dataset, Learnt, RawTable, apply, declared, learn
from fl.data.records import Records
from fl.errors import DataError
from fl.local import predict_logits
from fl.partition import partition, split
from fl.seeds import bytes_for

Indices = NDArray[np.int64]

STRANGERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client's training records.

    Attributes:
        name: unique in the federation.
        x: (records, *input_shape) float32.
        y: (records,) int64.
        ids: (records,) row numbers in the data set.
        subjects: (records,) int64, equal for records of one person, else None.
    """

    name: str
    x: torch.Tensor
    y: torch.Tensor
    ids: Indices
    subjects: Indices | None = None

    @property
    def records(self) -> int:
        """Return how many records the client holds."""
        return len(self.ids)

    def take(self, rows: Indices) -> Client:
        """Return the same client with only these of its records."""
        chosen = torch.from_numpy(rows)
        return Client(
            name=self.name,
            x=self.x[chosen],
            y=self.y[chosen],
            ids=self.ids[rows],
            subjects=None if self.subjects is None else self.subjects[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Records that nobody trains on."""

    x: torch.Tensor
    y: torch.Tensor
    ids: Indices

    def correct(self, model: torch.nn.Module) -> NDArray[np.bool_]:
        """Return, per record, whether ``model`` names its class."""
        predicted = predict_logits(model, self.x).argmax(axis=1)
        return np.asarray(predicted == self.y.numpy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Everything that one repetition trains and is tested on.

    Attributes:
        clients: in a fixed order.
        held_out: the test records.
        strangers: held-out records that equal no training record in value, at most
            ``STRANGERS``: what null baselines are drawn from. Where records say whose
            they are, they are of people whom nobody trains on, as all that is held out.
        stranger_sites: the site of each stranger where clients are sites, else None.
        dataset: all records, prepared; ``ids`` are its row numbers.
        learnt: what the clients learnt together before training, or None.
    """

    clients: tuple[Client, ...]
    held_out: HeldOut
    strangers: torch.Tensor
    stranger_sites: Indices | None
    dataset: Dataset
    learnt: Learnt | None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one record."""
        return self.dataset.input_shape

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return self.dataset.classes

    @property
    def value_range(self) -> tuple[float, float]:
        """Return the public range of a feature."""
        return self.dataset.value_range

    @property
    def train_ids(self) -> Indices:
        """Return the row numbers of all training records."""
        return np.concatenate([client.ids for client in self.clients])

    @property
    def persons(self) -> int:
        """Return how many people the training records are of; one each, if not said."""
        subjects = self.dataset.subjects
        rows = self.train_ids
        return len(rows if subjects is None else np.unique(subjects[rows]))

    def colluders(self, count: int) -> tuple[Client, ...]:
        """Return the clients that side with the server: the last ``count``."""
        return self.clients[len(self.clients) - count :]

    def strangers_like(self, counts: Mapping[str, int]) -> torch.Tensor:
        """Return strangers from the same sites as the records they stand in for.

        Where clients are sites, each site's strangers come in the proportions of
        ``counts`` (client -> records), so that a null differs from the truth in
        nothing but membership. Otherwise, or if a site has none, all strangers.
        """
        if self.stranger_sites is None:
            return self.strangers
        names = self.dataset.site_names
        parts = {
            name: self.strangers[self.stranger_sites == names.index(name)]
            for name in counts
        }
        share = min(len(parts[name]) / counts[name] for name in counts)
        if share == 0:
            return self.strangers
        return torch.cat(
            [parts[name][: max(1, int(share * counts[name]))] for name in counts]
        )

    def held_out_of(self, client: str) -> Indices:
        """Return the held-out rows of the client's own site, or all without sites."""
        sites = self.dataset.sites
        if self.stranger_sites is None or sites is None:
            return self.held_out.ids
        own = sites[self.held_out.ids] == self.dataset.site_names.index(client)
        return self.held_out.ids[own] if own.any() else self.held_out.ids

    def held_out_like(self, rows: Indices, among: Indices) -> Indices:
        """Return those of ``among`` that have the classes of ``rows``, in proportion.

        Who asks whether a record was a member must not be answered by its label: a
        client's few records are a mix of their own. Classes that ``among`` lacks are
        left out of the proportions; all of it if it lacks them all.
        """
        labels = self.dataset.labels
        wanted = np.bincount(labels[rows], minlength=self.classes)
        there = np.bincount(labels[among], minlength=self.classes)
        both = (wanted > 0) & (there > 0)
        if not both.any():
            return among
        share = min(there[both] / wanted[both])
        return np.concatenate(
            [
                among[labels[among] == one][: max(1, int(share * wanted[one]))]
                for one in np.flatnonzero(both)
            ]
        )

    def comparable(self, rows: Indices, among: Indices) -> tuple[Indices, Indices]:
        """Return members and others to tell apart, alike in their labels.

        Those of ``rows`` whose class there is among the others; see `held_out_like`.
        All of both where they share no class: nothing then makes them comparable, and
        the validity gate says so.
        """
        others = self.held_out_like(rows, among)
        labels = self.dataset.labels
        kept = rows[np.isin(labels[rows], labels[others])]
        return (kept, others) if len(kept) else (rows, others)

    def redealt(self, rows: Indices, config: Config, seed: int) -> Federation:
        """Return a federation like this one in which ``rows`` are dealt out anew.

        This is what an adversary who knows the population and the configuration can
        build: the shadow models of membership inference train on it.
        """
        clients = _deal(self.dataset, rows, config, seed)
        return replace(self, clients=clients)


def federate(
    raw: Dataset | RawTable,
    config: Config,
    counter: secagg.Aggregator | None,
    *,
    seed: int,
) -> Federation:
    """Split and deal out ``raw``, and prepare it through ``counter``.

    Args:
        raw: the loaded data.
        config: fractions and the kind of partition.
        counter: sums the counts by which a table's quantiles are learnt; None to
            learn nothing and scale by declared bounds.
        seed: of this repetition; the split and the partition depend on it alone.

    Raises:
        DataError: the partition leaves a client without records, or a table lacks
            the bounds to scale it by.
    """
    train, test = split(raw, config.data.test_fraction, seed)
    learnt = None
    if isinstance(raw, RawTable):
        if counter is None:
            learnt = declared(raw)
        else:
            shares = _shares(raw, train, config, seed)
            learnt = learn(raw, shares, _ExactSum(counter, seed))
        dataset = apply(raw, learnt)
    else:
        dataset = raw
    new = _strangers(dataset, train, test)
    sites = dataset.sites if config.federation.partition == "site" else None
    return Federation(
        clients=_deal(dataset, train, config, seed),
        held_out=HeldOut(
            x=torch.from_numpy(dataset.features[test]),
            y=torch.from_numpy(dataset.labels[test]),
            ids=test,
        ),
        strangers=torch.from_numpy(dataset.features[new]),
        stranger_sites=None if sites is None else sites[new],
        dataset=dataset,
        learnt=learnt,
    )


def _strangers(dataset: Dataset, train: Indices, test: Indices) -> Indices:
    # Adding zero turns -0.0 into 0.0, so that equal values have equal bytes.
    known = {row.tobytes() for row in dataset.features[train] + 0}
    new = [i for i in test if (dataset.features[i] + 0).tobytes() not in known]
    if not new:
        raise DataError(
            "every held-out record repeats a training record, so no null baseline "
            "can be drawn; use more records or raise data.test_fraction."
        )
    return np.array(new[:STRANGERS], dtype=np.int64)


class _ExactSum:
    """Sums whole numbers over clients through an aggregator, exactly."""

    def __init__(self, aggregator: secagg.Aggregator, seed: int) -> None:
        self._aggregator = aggregator
        self._seed = seed
        self._calls = 0

    def __call__(
        self, vectors: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        self._calls += 1
        name = ("preparation", self._calls)
        aggregate = self._aggregator.aggregate(
            vectors,
            dict.fromkeys(vectors, 1),
            context=secagg.context(b"preparation", str(self._calls).encode()),
            session=bytes_for(self._seed, "session", *name),
            seed=bytes_for(self._seed, "protocol", *name),
        )
        return np.rint(aggregate.mean.astype(np.float64) * aggregate.weight)


def _deal(
    dataset: Dataset, rows: Indices, config: Config, seed: int
) -> tuple[Client, ...]:
    return tuple(
        Client(
            name=name,
            x=torch.from_numpy(dataset.features[share]),
            y=torch.from_numpy(dataset.labels[share]),
            ids=share,
            subjects=None if dataset.subjects is None else dataset.subjects[share],
        )
        for name, share in _shares(dataset, rows, config, seed).items()
    )


def _shares(
    records: Records, rows: Indices, config: Config, seed: int
) -> dict[str, Indices]:
    federation = config.federation
    shares = partition(
        records,
        rows,
        clients=federation.clients,
        kind=federation.partition,
        alpha=federation.alpha,
        seed=seed,
    )
    digits = len(str(len(shares) - 1))
    names = (
        records.site_names
        if federation.partition == "site"
        else tuple(f"client-{i:0{digits}d}" for i in range(len(shares)))
    )
    return dict(zip(names, shares, strict=True))
