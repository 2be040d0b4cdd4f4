"""Columns and properties that the configuration names: found, or refused at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from attacks import Field
from fl.config import Config
from fl.errors import DataError
from fl.federation import Client, Federation

Bits = NDArray[np.bool_]


def check_named(federation: Federation, config: Config) -> None:
    """Refuse columns and properties that these records do not have.

    Raises:
        DataError: no such column, or a client with records on one side only.
    """
    for name in config.attacks.attributes:
        field_of(federation, name)
    name = config.attacks.property
    if name:
        having = with_property(federation, name)
        only(federation, having, name)
        only(federation, ~having, name)


def field_of(federation: Federation, name: str) -> Field:
    """Return the column of this name.

    Raises:
        DataError: there is none.
    """
    fields = {one.name: one for one in federation.dataset.fields}
    if name not in fields:
        known = ", ".join(sorted(fields)) or "none, the records are no table"
        raise DataError(
            f"attacks.attributes names {name!r}, which is no column of the data; the "
            f"columns are: {known}."
        )
    return fields[name]


def with_property(federation: Federation, name: str) -> Bits:
    """Return which records of the data set have the property, (N,) bool.

    ``label=NAME`` is a class; ``column=LEVEL`` a category; ``column`` alone a number
    above its mean over the held-out records (of a column of two values, the larger).

    Raises:
        DataError: no such class or column.
    """
    dataset = federation.dataset
    column, _, level = name.partition("=")
    if column == "label":
        if level not in dataset.class_names:
            raise DataError(
                f"attacks.property names {name!r}, but the classes are "
                f"{', '.join(dataset.class_names)}."
            )
        return np.asarray(dataset.labels == dataset.class_names.index(level))
    if level:
        if name not in dataset.names:
            raise DataError(
                f"attacks.property names {name!r}, which is no category of the data; "
                f"its columns are {', '.join(dataset.names) or 'none'}."
            )
        return np.asarray(dataset.features[:, dataset.names.index(name)] > 0.5)
    (place, *more) = field_of(federation, column).columns
    if more:
        raise DataError(f"attacks.property names {name!r} without a category; add one.")
    values = dataset.features[:, place]
    return np.asarray(values > values[federation.held_out.ids].mean())


def only(federation: Federation, kept: Bits, name: str) -> Federation:
    """Keep of every client the records with, or those without, the property."""
    clients: list[Client] = []
    for client in federation.clients:
        rows = np.flatnonzero(kept[client.ids])
        if len(rows) == 0:
            raise DataError(
                f"attacks.property={name!r}: {client.name} has only records with it, "
                "or only records without; name a property that all clients know both."
            )
        clients.append(client.take(rows))
    return replace(federation, clients=tuple(clients))
