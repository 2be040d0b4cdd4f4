"""Who sees which model: the real models of a run that membership is asked of.

Each client's own model where uploads are in the clear, the honest sum's model for a
server with colluders, the released model for all whom it reaches. Nothing is scored
here, and nobody's score can depend on the membership bits that a target carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary
from fl.config import Config
from fl.federation import Client, Federation
from fl.finding import Group
from fl.local import predict_logits
from fl.looks import BOTH, FILLED, OPENED
from fl.models import build, load_vector
from fl.protection import Protection
from fl.round import Snapshot
from fl.run import RunRecord
from fl.view import mean_without
from secagg.transcript import Upload

EVERYBODY = (Adversary.OUTSIDER, Adversary.CLIENT, *BOTH)
# Who has what the clients have, and who has not, where results stay with them.
INSIDERS, OUTSIDE = (Adversary.CLIENT, *BOTH[1:]), (Adversary.OUTSIDER, *BOTH[:1])
RELEASED = "released model"
OVER_ROUNDS = "released models of the kept rounds"

Runs = Sequence[tuple[RunRecord, Federation]]
Vector = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model to attack: its parameters, who trained it, and who else is asked of.

    Attributes:
        parameters: (parameters,) of the model.
        members: row numbers of the records that it was trained on.
        nonmembers: row numbers of held-out records.
        federation: whose data set the row numbers are of.
        earlier: parameters of models that the same party saw in earlier rounds.
    """

    parameters: Vector
    members: NDArray[np.int64]
    nonmembers: NDArray[np.int64]
    federation: Federation
    earlier: tuple[Vector, ...] = ()

    def model(self, config: Config) -> torch.nn.Module:
        """Return the model."""
        return self._loaded(self.parameters, config)

    def logits(self, config: Config) -> NDArray[np.float32]:
        """Return what the model says of every record, (records, classes)."""
        return self._answers(self.parameters, config)

    def rounds(self, config: Config) -> NDArray[np.float32]:
        """Return what each earlier model and the last say, (T, records, classes)."""
        each = (*self.earlier, self.parameters)
        return np.stack([self._answers(one, config) for one in each])

    def _answers(self, parameters: Vector, config: Config) -> NDArray[np.float32]:
        features = torch.from_numpy(self.federation.dataset.features)
        return predict_logits(self._loaded(parameters, config), features)

    def _loaded(self, parameters: Vector, config: Config) -> torch.nn.Module:
        federation = self.federation
        model = build(config.model, federation.input_shape, federation.classes, 0)
        load_vector(model, parameters.astype(np.float32))
        return model

    def group(self, scores: NDArray[np.float64]) -> Group:
        """Pick the scores of members and of held-out records, with their bits.

        Other clients' records are neither. ``scores`` are of all records, (records,).
        """
        ids = np.concatenate([self.members, self.nonmembers])
        persons = self.federation.dataset.subjects
        return Group(
            scores=scores[ids],
            members=np.arange(len(ids)) < len(self.members),
            records=ids,
            persons=None if persons is None else persons[ids],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What some adversaries see of all runs: one model a run or more.

    Attributes:
        name: in words, as on the page.
        adversaries: who sees the same.
        targets: the models.
    """

    name: str
    adversaries: tuple[Adversary, ...]
    targets: tuple[Target, ...]


def released(runs: Runs, protection: Protection) -> View:
    """Return the final models, which everybody sees unless they stay with clients."""
    return View(
        name=RELEASED,
        adversaries=EVERYBODY if protection.clients_only is None else INSIDERS,
        targets=tuple(
            Target(
                parameters=run.final,
                members=fed.train_ids,
                nonmembers=fed.held_out.ids,
                federation=fed,
            )
            for run, fed in runs
        ),
    )


def over_rounds(runs: Runs, protection: Protection) -> View:
    """Return the models released in the kept rounds; whoever is outside sees one only.

    The model before the first round knows nobody and is left out.
    """
    final = released(runs, protection)
    targets = [
        replace(
            target,
            earlier=tuple(one.before for one in run.snapshots if one.index > 0),
        )
        for target, (run, _) in zip(final.targets, runs, strict=True)
    ]
    who = tuple(one for one in final.adversaries if one is not Adversary.OUTSIDER)
    return View(name=OVER_ROUNDS, adversaries=who, targets=tuple(targets))


def inside(runs: Runs, protection: Protection, config: Config) -> Iterator[View]:
    """Yield the models that only the server or its colluders can build.

    A last round of colluders alone holds nobody else's records: it is no view.
    """
    for name, adversaries, targets in _inside(runs, protection, config):
        if targets:
            yield View(name=name, adversaries=adversaries, targets=tuple(targets))


def _inside(
    runs: Runs, protection: Protection, config: Config
) -> Iterator[tuple[str, tuple[Adversary, ...], list[Target]]]:
    chosen = protection.selective
    if protection.hides_one_upload is None:
        read = [one for run, fed in runs for one in _uploads(run, fed, config)]
        if chosen is None:
            yield "one client's model", BOTH, read
            return
        yield f"one client's model, {FILLED}", BOTH[:1], read
    if protection.central is not None:  # before the noise that all others see
        targets = [_summed(run, fed, ()) for run, fed in runs]
        yield "sum of the cohort", BOTH, targets
    if not config.federation.corrupt:
        return
    if protection.shared_key is not None:
        targets = [
            one for run, fed in runs for one in _uploads(run, fed, config, opened=True)
        ]
        part = f", {FILLED}" if chosen is not None and not chosen.is_open else ""
        yield f"one client's model, {OPENED}{part}", BOTH[1:], targets
        if not part:
            return
    known = {id(fed): fed.colluders(config.federation.corrupt) for _, fed in runs}
    targets = [
        _summed(run, fed, known[id(fed)])
        for run, fed in runs
        if not run.snapshots[-1].inside <= {client.name for client in known[id(fed)]}
    ]
    yield "the honest clients' sum", BOTH[1:], targets


def _uploads(
    run: RunRecord, federation: Federation, config: Config, *, opened: bool = False
) -> list[Target]:
    last = run.snapshots[-1]
    uploads = last.opened if opened else last.aggregate.transcript.uploads()
    colluders = {one.name for one in federation.colluders(config.federation.corrupt)}
    return [
        _target(
            last.before + _read(uploads[client.name], last),
            client.ids,
            federation.held_out_of(client.name),
            federation,
        )
        for client in federation.clients
        if client.name in uploads and client.name not in colluders
    ]


def _target(
    parameters: Vector,
    rows: NDArray[np.int64],
    among: NDArray[np.int64],
    federation: Federation,
) -> Target:
    members, others = federation.comparable(rows, among)
    return Target(
        parameters=parameters,
        members=members,
        nonmembers=others,
        federation=federation,
    )


def _read(upload: Upload, last: Snapshot) -> Vector:
    """Return what is read of an upload, and the mean where nothing is."""
    vector = upload.vector[: len(last.before)]
    if upload.known is None:
        return vector
    return np.where(upload.known, vector, last.aggregate.mean)


def _summed(
    run: RunRecord, federation: Federation, colluders: Sequence[Client]
) -> Target:
    last = run.snapshots[-1]
    change, _, names = mean_without(last, {client.name for client in colluders})
    within = np.concatenate(
        [client.ids for client in federation.clients if client.name in names]
    )
    held_out = federation.held_out.ids
    return _target(last.before + change, within, held_out, federation)
