"""What is checked and decided before anything is written: the data, the protections.

A protection that was asked for by name and cannot be had is bad input. One of the
default list is left out, and the page says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fl import privacy
from fl.config import Config
from fl.data import Dataset, RawTable, declared, load
from fl.errors import ConfigError, DataError
from fl.federation import Federation, federate
from fl.folder import RunFolder
from fl.ledgers import LedgerFiles, check_shared
from fl.named import check_named
from fl.partition import check_sites
from fl.progress import Reporter
from fl.protection import Protection, UnavailableError, counter_for
from fl.protections import build
from fl.report import Refusal
from fl.round_log import Listener
from fl.shelf import Shelf
from fl.stages import Setting
from fl.workload import Workload, workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An audit that can be run.

    Attributes:
        raw: the loaded records.
        protections: that will be audited.
        refused: default ones that this federation cannot have.
        config: the resolved configuration.
        workload: the sizes by which attacks are made smaller or left out.
    """

    raw: Dataset | RawTable
    protections: tuple[Protection, ...]
    refused: tuple[Refusal, ...]
    config: Config
    workload: Workload

    @property
    def builtin(self) -> bool:
        """Return whether the records are built in, so that anybody has them."""
        return self.raw.builtin

    def setting(
        self,
        folder: RunFolder,
        progress: Reporter,
        *,
        shelf: Shelf,
        trackers: tuple[Listener, ...],
        ledgers: LedgerFiles,
    ) -> Setting:
        """Return what the stages are given."""
        return Setting(
            raw=self.raw,
            protections=self.protections,
            config=self.config,
            folder=folder,
            progress=progress,
            shelf=shelf,
            trackers=trackers,
            ledgers=ledgers,
        )


def prepare(config: Config) -> Ready:
    """Load the data and refuse what cannot be run.

    Raises:
        UserError: the data, the model or a protection asked for by name.
    """
    _check_device(config)
    raw = load(config.data, config.seed)
    protections, refused = _choose(config, raw)
    if not protections:
        raise ConfigError(
            "no protection is left: " + " ".join(one.why for one in refused)
        )
    check_shared(config, sum(one.unit is not None for one in protections))
    return Ready(
        raw=raw,
        protections=protections,
        refused=tuple(refused),
        config=config,
        workload=_try_out(raw, protections, config),
    )


def _check_device(config: Config) -> None:
    if config.training.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            'training.device = "cuda" but torch finds no CUDA device; set it to "cpu", '
            "or install a build of torch for this machine's GPU."
        )


def _choose(
    config: Config, raw: Dataset | RawTable
) -> tuple[tuple[Protection, ...], list[Refusal]]:
    asked = "names" in config.protections.model_fields_set
    chosen, refused = [], []
    for name in config.protections.names:
        try:
            protection = build(name, config, config.federation.clients)
            if protection.unit is not None and isinstance(raw, RawTable):
                declared(raw)  # refuses a table that exact sums would have to scale
            if protection.unit == privacy.SUBJECT:
                most = config.privacy.example.max_sites_per_subject
                check_sites(raw, config.federation.partition, most)
        except (UnavailableError, DataError) as error:
            if asked:
                raise type(error)(f"{name}: {error}") from error
            refused.append(Refusal(protection=name, why=str(error)))
        else:
            chosen.append(protection)
    return tuple(chosen), refused


def _try_out(
    raw: Dataset | RawTable, protections: Sequence[Protection], config: Config
) -> Workload:
    """Deal the records out once, which shows most of what cannot be run."""
    clients, training = config.federation.clients, config.training
    counter = counter_for(protections[0], protections)
    trial = federate(raw, config, counter, seed=config.seed)
    sizes = workload(trial, config)  # builds the model
    largest = max(client.records for client in trial.clients)
    if largest > training.weight_max:
        raise ConfigError(
            f"a client holds {largest} records but training.weight_max = "
            f"{training.weight_max}; raise it to {largest} or more."
        )
    for one in protections:
        check_delta(trial, one, config)
    check_named(trial, config)
    if trial.persons < 2 * clients:
        what = "training records" if raw.subjects is None else "persons to train on"
        raise DataError(
            f"{trial.persons} {what} are fewer than two for each of {clients} clients; "
            "use more records or lower federation.clients."
        )
    return sizes


def check_delta(trial: Federation, protection: Protection, config: Config) -> None:
    """Refuse a delta by which one whole unit might be shown; without noise, nothing.

    Raises:
        ConfigError: it is not below one over the number of units.
    """
    units = {
        privacy.EXAMPLE: len(trial.train_ids),
        privacy.SUBJECT: trial.persons,
        privacy.CLIENT: len(trial.clients),
    }
    unit = protection.unit
    if unit is not None and config.privacy.delta >= 1 / units[unit]:
        raise ConfigError(
            f"privacy.delta = {config.privacy.delta} lets {protection.name} expose one "
            f"whole {unit} of {units[unit]}; set it well below "
            f"{1 / units[unit]:.2g}."
        )
