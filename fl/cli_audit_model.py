"""`blindsum audit-model`: the page of a model that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fl import model_audit
from fl.cli_ending import finish, stoppable
from fl.cli_options import Force, Out, Seed, Sets

AUDIT_MODEL_EXAMPLES = """
Examples:

  blindsum audit-model --model net.pt --arch nets:Net --members in.csv
  --nonmembers out.csv

  blindsum audit-model --arch forest:fitted --members in.npz --nonmembers out.npz
  --claimed "epsilon=8 delta=1e-5 unit=example" --coins

  blindsum audit-model --scores scores.csv
"""

Model = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Parameters (.pt, .safetensors, .npz), or package.module:function from "
        "records to probabilities or logits.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        metavar="PKG:CLASS",
        help="The model's class; without --model, a function that returns a fitted "
        "model.",
    ),
]
Members = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Records that it was trained on: .csv or .npz."),
]
Others = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Others from the same source: .csv or .npz."),
]
Scores = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A .csv file of scores in place of a model."),
]
Models = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Reference models, and membership.csv that says who trained which.",
    ),
]
Update = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A saved update of a client, or a sum."),
]
ClaimedEpsilon = Annotated[
    str | None,
    typer.Option(
        metavar="CLAIM",
        help='What is claimed of it: "epsilon=8 delta=1e-5 unit=example".',
    ),
]
Coins = Annotated[
    bool,
    typer.Option(
        "--coins",
        help="Each record was included by a fair coin of its own; only then a lower "
        "bound on epsilon is measured.",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The .csv column to predict; label if none."),
]
Name = Annotated[str | None, typer.Option(help="The run's name.")]


def audit_model(
    model: Model = None,
    arch: Arch = None,
    members: Members = None,
    nonmembers: Others = None,
    scores: Scores = None,
    models: Models = None,
    update: Update = None,
    claimed: ClaimedEpsilon = None,
    coins: Coins = False,
    label: Label = None,
    name: Name = None,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    force: Force = False,
) -> None:
    """Audit a model that was trained elsewhere, from what you can give of it."""
    request = model_audit.Request(
        model=model,
        arch=arch,
        members=members,
        nonmembers=nonmembers,
        scores=scores,
        models=models,
        update=update,
        claimed=claimed,
        coins=coins,
        label=label,
        name=name,
        sets=tuple(sets or ()),
        seed=seed or 0,
    )
    with stoppable():
        result = model_audit.run(request, out=out, force=force)
    for sentence in result.report.answer:
        print(sentence)
    finish(result)
