"""Score what an inversion attack handed in: against the truth, and against strangers.

The same for both: other real records (`attacks.nulls`) are the null. A refusal counts
as a failure with the score of having handed in nothing.
"""

from __future__ import annotations

import torch

from attacks import (
    Certificate,
    InversionAttack,
    Observation,
    Reconstruction,
    commonest_row,
    nulls,
    quality,
    score_rows,
)
from fl.outcomes import CATEGORIES_RIGHT, NUMBERS_RIGHT, PSNR, SSIM, Attempt
from fl.seeds import seed_for
from fl.shots import Shot

# One set: the mean of several has less spread than the truth, and the difference then
# a tail that Student's t does not know.
NULL_SETS = 1


def scored(
    shot: Shot,
    attack: InversionAttack,
    observation: Observation,
    result: Reconstruction,
) -> Attempt:
    """Score what an attack handed in, beside the same for other real records.

    Args:
        shot: what was attacked, and the truth.
        attack: which one did it.
        observation: what it was given.
        result: what it handed in.
    """
    truth, others = _truth_and_nulls(shot)
    score = quality.score(
        result.inputs,
        _best_fit(result.inputs, truth),
        [_best_fit(result.inputs, other) for other in others],
        value_range=observation.value_range or (0.0, 1.0),
    )
    metrics = {PSNR: (score.psnr, score.psnr_null)}
    if score.ssim is not None and score.ssim_null is not None:
        metrics[SSIM] = (score.ssim, score.ssim_null)
    metrics |= _row_metrics(shot, result.inputs, truth, others[0])
    exact = (
        _came_back(result.inputs, shot.x, shot),
        # All strangers, more than the truth has records: chance gets every chance.
        _came_back(result.inputs, shot.pool, shot),
    )
    certified = result.certificate is Certificate.CERTIFIED
    return Attempt(
        attack=attack.name,
        metrics=metrics,
        exact=exact,
        certified=certified,
        refused=result.reason if result.certificate is Certificate.REFUSED else "",
        reconstruction=result,
        seconds=result.seconds,
    )


def _row_metrics(
    shot: Shot, inputs: torch.Tensor, truth: torch.Tensor, others: torch.Tensor
) -> dict[str, tuple[float, float]]:
    """Score the fields of a table's rows; nothing where records have none.

    The null is the better of two: the candidates beside other rows, and the commonest
    row beside the true ones. Whether whole rows came back, exact recoveries say.
    """
    if not shot.fields:
        return {}
    spread = shot.pool.amax(dim=0) - shot.pool.amin(dim=0)
    common = commonest_row(shot.pool, shot.fields).expand(len(truth), -1)
    own, strange, blind = (
        score_rows(guess, records, shot.fields, spread=spread)
        for guess, records in (
            (inputs, _best_fit(inputs, truth)),
            (inputs, _best_fit(inputs, others)),
            (common, truth),
        )
    )
    found: dict[str, tuple[float, float]] = {}
    for name, values in (
        (NUMBERS_RIGHT, (own.numeric, strange.numeric, blind.numeric)),
        (CATEGORIES_RIGHT, (own.categorical, strange.categorical, blind.categorical)),
    ):
        known = [value for value in values if value is not None]
        if known:
            found[name] = (known[0], max(known[1:]))
    return found


def _truth_and_nulls(
    shot: Shot,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Return the records to score against and equally many other real ones.

    Where a view covers more records than an attack hands in, it is scored on the
    records that fit its candidates best, and so is the null, out of equally many.
    """
    size = min(len(shot.x), len(shot.pool))
    truth = shot.x
    if size < len(truth):
        order = torch.Generator().manual_seed(seed_for(shot.seed, "score", shot.number))
        truth = truth[torch.randperm(len(truth), generator=order)[:size]]
    seed = seed_for(shot.seed, "null", shot.number)
    return truth, nulls.other_records(shot.pool, truth, sets=NULL_SETS, seed=seed)


def _best_fit(inputs: torch.Tensor, records: torch.Tensor) -> torch.Tensor:
    if len(inputs) >= len(records):
        return records
    if len(inputs) == 0:
        return records[:1]
    _, chosen = quality.match(inputs, records)
    return records[torch.from_numpy(chosen)]


def _came_back(inputs: torch.Tensor, records: torch.Tensor, shot: Shot) -> bool:
    """Tell whether any candidate equals any of ``records``, up to rounding."""
    if len(inputs) == 0:
        return False
    low, high = shot.observation.value_range or (0.0, 1.0)
    gaps = torch.cdist(
        inputs.double().flatten(1), records.double().flatten(1), p=torch.inf
    )
    return bool(gaps.min() <= quality.EXACT_TOLERANCE * (high - low))
