"""`blindsum secagg`: plan and price a round, and look back at what was released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import secagg
from fl.cli_estimate import ESTIMATE_EXAMPLES, Clients, secagg_estimate
from fl.releases import read_releases
from fl.status import GATE_FAILED

secagg_app = typer.Typer(
    help="Plan secure aggregation, in integers; look back at what was released."
)


@secagg_app.command("plan")
def secagg_plan(
    clients: Annotated[int, typer.Option(help="How many clients take part.")],
    corrupt: Clients,
    drop: Clients,
    threat: Annotated[
        str, typer.Option(help="semi_honest or malicious_server.")
    ] = "semi_honest",
    sigma: Annotated[int, typer.Option(help="Privacy fails below 2^-SIGMA.")] = 40,
    eta: Annotated[int, typer.Option(help="A sum is lost below 2^-ETA.")] = 30,
    grinding_bits: Annotated[
        int, typer.Option(help="log2 of the graphs the server may choose among.")
    ] = 0,
    graph: Annotated[str, typer.Option(help="auto, complete or k-regular.")] = "auto",
) -> None:
    """Say what a plan guarantees, or why it cannot exist.

    CORRUPT may collude with the server, DROP may vanish.

    Example: blindsum secagg plan --clients 1000 --corrupt 0.05 --drop 50
    """
    print(
        secagg.plan(
            clients, corrupt, drop, threat, sigma, eta, grinding_bits, graph=graph
        )
    )


secagg_app.command("estimate", epilog=ESTIMATE_EXAMPLES)(secagg_estimate)


RELEASES_EXAMPLE = """
Example:

  blindsum secagg releases site-3.db
"""


@secagg_app.command("releases", epilog=RELEASES_EXAMPLE)
def secagg_releases(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="The file of a secagg.Store.")
    ],
) -> None:
    """Say what the sums in a store reveal together about single clients.

    Sums under one context are sums of the same vectors. Exit status 3: under some
    context, a single client's input is a combination of them.
    """
    found = read_releases(store)
    for line in found.lines():
        print(line)
    if found.determined:
        raise typer.Exit(GATE_FAILED)
