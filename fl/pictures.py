"""Galleries: true images, what an attack made of them, and what it makes of nothing.

Pictures of records are shown on the page for built-in data only; for a user's own data
they go to ``private/``. Tables of numbers have no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Adversary, Certificate, CosineTV, LinearInversion, nulls, quality
from fl.outcomes import Outcome
from fl.report import Gallery
from fl.seeds import seed_for
from fl.shots import Shot

SHOWN = 8
# (protection, start of the view, attack): the pictures worth a place on the page.
CHOSEN = (
    ("none", "one upload, batch 1, trained", LinearInversion.name),
    ("secagg", "one masked upload, batch 1, trained", LinearInversion.name),
    ("secagg", "sum of", LinearInversion.name),
    ("none", "one upload, batch 1, trained", CosineTV.name),
)


def galleries(outcomes: Sequence[Outcome]) -> tuple[Gallery, ...]:
    """Return the chosen pictures of the worst case, as far as they were made."""
    made = []
    for protection, view, attack in CHOSEN:
        chosen = [
            outcome
            for outcome in outcomes
            if outcome.shot.protection == protection
            and outcome.shot.view.startswith(view)
            and ", batch 1, trained" in outcome.shot.view
            and outcome.attempt.attack == attack
            and Adversary.SERVER in outcome.shot.adversaries
            and outcome.shot.x.dim() == 4
        ]
        if chosen:
            made.append(gallery(chosen[:SHOWN]))
    return tuple(made)


def gallery(outcomes: Sequence[Outcome]) -> Gallery:
    """Return what one attack made of these victims, all of one view, none left out."""
    shot = outcomes[0].shot
    triples = [_triple(outcome) for outcome in outcomes]
    certified = sum(outcome.attempt.certified for outcome in outcomes)
    return Gallery(
        title=f"{shot.protection}: {shot.view}, {outcomes[0].attempt.attack}",
        caption=(
            f"The first {len(outcomes)} victims, none left out; {certified} certified "
            "by the attack itself. Of several records in one view the best recovered "
            "is shown. The null is another real record's image, the closest of those "
            "drawn."
        ),
        originals=tuple(triple[0] for triple in triples),
        reconstructions=tuple(triple[1] for triple in triples),
        null=tuple(triple[2] for triple in triples),
        psnr=tuple(triple[3] for triple in triples),
        labels=tuple(triple[4] for triple in triples),
    )


_Framed = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float | None, str
]


def _triple(outcome: Outcome) -> _Framed:
    """Return truth, reconstruction, null, PSNR and label of the best-matched record."""
    shot, result = outcome.shot, outcome.attempt.reconstruction
    low, high = shot.observation.value_range or (0.0, 1.0)
    others = nulls.other_records(
        shot.pool, shot.x, sets=1, seed=seed_for(shot.seed, "picture", shot.number)
    )[0]
    if result is None or result.certificate is Certificate.REFUSED:
        blank = torch.full_like(shot.x[0], (low + high) / 2)
        return _framed(shot, 0, blank, others[0], None)
    i, j = quality.match(result.inputs, shot.x)
    errors = (result.inputs[i] - shot.x[j]).flatten(1).square().mean(dim=1)
    best = int(errors.argmin())
    guess, place = result.inputs[i[best]], int(j[best])
    _, k = quality.match(guess[None], others)
    decibels = quality.psnr(guess, shot.x[place], data_range=high - low)
    return _framed(shot, place, guess, others[k[0]], decibels)


def _framed(
    shot: Shot,
    place: int,
    guess: torch.Tensor,
    null: torch.Tensor,
    decibels: float | None,
) -> _Framed:
    low, high = shot.observation.value_range or (0.0, 1.0)
    return (
        _image(shot.x[place], low, high),
        _image(guess, low, high),
        _image(null, low, high),
        decibels,
        str(int(shot.y[place])),
    )


def _image(record: torch.Tensor, low: float, high: float) -> NDArray[np.float64]:
    pixels = ((record.double() - low) / (high - low)).clamp(0, 1).numpy()
    picture: NDArray[np.float64] = (
        pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    )
    return picture
