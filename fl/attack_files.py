"""What a benchmark of attacks leaves behind: figures for everybody, records for few.

`results.json` and `config.json` hold no record. Pictures and arrays of records go into
the run's folder for built-in data, which everybody has, and else to `private/`, a
folder of its owner's.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl.folder import CONFIG
from fl.outcomes import Outcome
from fl.pictures import SHOWN, gallery
from fl.report.pictures import Gallery, png
from fl.report.render import PRIVATE_FOLDER

RESULTS = "results.json"
PUBLIC, OWNER_ONLY = 0o644, 0o600
_GAP = 1  # white pixels between the images of a sheet


def write_figures(
    folder: Path, results: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Write `results.json` and the configuration it belongs to."""
    for name, tree in ((RESULTS, results), (CONFIG, config)):
        text = json.dumps(tree, indent=1, allow_nan=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def write_records(folder: Path, outcomes: Sequence[Outcome], *, builtin: bool) -> None:
    """Write truth beside reconstructions: arrays, and sheets of pictures for images.

    A sheet has three rows: originals, reconstructions, and the other real records
    that are the null; its columns are the first victims, none left out.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.attempt.reconstruction is not None:
            shot = outcome.shot
            parts = (shot.protection, outcome.attempt.attack, shot.view)
            groups.setdefault(_slug(*parts), []).append(outcome)
    for name, group in groups.items():
        arrays = {}
        for number, outcome in enumerate(group):
            result = outcome.attempt.reconstruction
            if result is not None:
                arrays[f"truth/{number}"] = outcome.shot.x.numpy()
                arrays[f"found/{number}"] = result.inputs.numpy()
        write_arrays(folder, f"{name}.npz", arrays, private=not builtin)
        if group[0].shot.x.dim() == 4:
            _write(
                folder, f"{name}.png", png(_sheet(gallery(group[:SHOWN]))),
                private=not builtin,
            )  # fmt: skip


def write_arrays(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], *, private: bool
) -> Path:
    """Write arrays of records as `.npz`; return where they are."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return _write(folder, name, buffer.getvalue(), private=private)


def write_images(folder: Path, name: str, images: torch.Tensor) -> None:
    """Write (N, C, H, W) images in [0, 1] side by side into `private/`."""
    row = [
        one[0] if len(one) == 1 else np.moveaxis(one, 0, -1)
        for one in images.double().clamp(0, 1).numpy()[:SHOWN]
    ]
    _write(folder, name, png(_rows_of([row])), private=True)


def _write(folder: Path, name: str, content: bytes, *, private: bool) -> Path:
    mode, place = PUBLIC, folder
    if private:
        mode, place = OWNER_ONLY, folder / PRIVATE_FOLDER
        place.mkdir(mode=0o700, exist_ok=True)
    # The mode is set as the file is made: there is no moment at which others read it.
    handle = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return place / name


def _sheet(shown: Gallery) -> NDArray[np.float64]:
    return _rows_of([shown.originals, shown.reconstructions, shown.null])


def _rows_of(
    rows: Sequence[Sequence[NDArray[np.floating]]],
) -> NDArray[np.float64]:
    return _joined(
        [
            _joined([np.asarray(one, dtype=np.float64) for one in row], 1)
            for row in rows
        ],
        0,
    )


def _joined(images: Iterable[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
    """Join images along an axis, with a white line between two."""
    parts: list[NDArray[np.float64]] = []
    for image in images:
        if parts:
            shape = list(image.shape)
            shape[axis] = _GAP
            parts.append(np.ones(shape))
        parts.append(image)
    return np.concatenate(parts, axis=axis)


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
