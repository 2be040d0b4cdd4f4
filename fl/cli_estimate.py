"""`blindsum secagg estimate`: what a planned round costs each role."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

import secagg
from fl.estimate import Setting, estimate
from fl.estimate_page import sentences, table, to_json
from fl.unit_costs import BUDGET_S
from secagg.invite import Step

ESTIMATE_EXAMPLES = """
Examples:

  blindsum secagg estimate --clients 1000 --params 1e6 --corrupt 0.05 --drop 50

  blindsum secagg estimate --clients 1e6 --params 1e7 --drop 0.1 --cores 64

  blindsum secagg estimate --clients 1e6 --params 1e7 --per-round 10000 --json
"""


def _count(text: str | float) -> float:
    """Read a count of clients as an int, or a fraction of them as a float."""
    for number in (int, float):
        with suppress(ValueError):
            return number(str(text))  # a default comes as the number it is
    raise typer.BadParameter(
        f"{text!r} is neither a count of clients nor a fraction below 1."
    )


Clients = Annotated[
    float,
    typer.Option(parser=_count, metavar="N", help="Clients, or a fraction below 1."),
]


def _whole(text: str) -> int:
    """Read a whole number, which may be written as 1e6."""
    with suppress(ValueError, OverflowError):
        number = float(text)
        if number == int(number):
            return int(number) if "e" in text.lower() else int(text)
    raise typer.BadParameter(f"{text!r} is no whole number.")


Total = Annotated[
    int, typer.Option(parser=_whole, metavar="N", help="Clients in all, like 1e6.")
]
Params = Annotated[
    int, typer.Option(parser=_whole, metavar="M", help="Values in a vector.")
]
DropAt = Annotated[
    Step, typer.Option(help="The step whose answers the DROP clients do not send.")
]
PerRound = Annotated[
    int | None,
    typer.Option(parser=_whole, metavar="N", help="Split them into rounds of N."),
]
Threat = Annotated[str, typer.Option(help="semi_honest or malicious_server.")]
GraphKind = Annotated[str, typer.Option(help="auto, complete or k-regular.")]
ValueBits = Annotated[int, typer.Option(help="Bits of a value, 2 to 32.")]
WeightMax = Annotated[int, typer.Option(help="Largest weight of a client.")]
Rotate = Annotated[bool, typer.Option(help="Rotate vectors before rounding.")]
Cipher = Annotated[str, typer.Option(help="Of masks: aes-256-ctr or chacha20.")]
NameBytes = Annotated[int, typer.Option(help="Bytes of a client's name.")]
Signed = Annotated[bool, typer.Option(help="Clients sign their keys.")]
Cores = Annotated[int, typer.Option(help="Of the server, along the vector.")]
Up = Annotated[float, typer.Option(help="Mbit/s from a client to the server.")]
Down = Annotated[float, typer.Option(help="Mbit/s from the server to a client.")]
AtServer = Annotated[float, typer.Option(help="Mbit/s of the server, each way.")]
Latency = Annotated[float, typer.Option(help="One way.")]
Seconds = Annotated[float, typer.Option(help="How long to measure unit costs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


def secagg_estimate(
    clients: Total,
    params: Params,
    corrupt: Clients = 0.05,
    drop: Clients = 0.05,
    drop_at: DropAt = Step.MASKED_INPUT,
    per_round: PerRound = None,
    threat: Threat = "semi_honest",
    graph: GraphKind = "auto",
    value_bits: ValueBits = 16,
    weight_max: WeightMax = 1,
    rotate: Rotate = False,
    cipher: Cipher = "aes-256-ctr",
    name_bytes: NameBytes = 16,
    signed: Signed = True,
    cores: Cores = 1,
    bandwidth_up: Up = 20.0,
    bandwidth_down: Down = 100.0,
    bandwidth_server: AtServer = 10_000.0,
    latency_ms: Latency = 50.0,
    seconds: Seconds = BUDGET_S,
    as_json: AsJson = False,
) -> None:
    """Say what a planned round costs each role: CPU, memory, bytes and wall time.

    Counts of operations and bytes follow from the plan; what each costs is measured on
    this machine, now. Nothing is sent.
    """
    each = clients if per_round is None else min(per_round, clients)
    encoder = secagg.Encoder(
        value_bits=value_bits, weight_max=weight_max, rotate=rotate
    )
    plan = secagg.plan(
        each, corrupt, drop, threat, graph=graph, encoder=encoder, cipher=cipher
    )
    found = estimate(
        plan,
        length=params,
        gone={drop_at: plan.drop},
        setting=Setting(
            name_bytes=name_bytes,
            signed=signed,
            cores=cores,
            up_mbit=bandwidth_up,
            down_mbit=bandwidth_down,
            server_mbit=bandwidth_server,
            latency_s=latency_ms / 1e3,
        ),
        budget_s=seconds,
    )
    rounds = -(-clients // each)
    if as_json:
        print(to_json(found, rounds=rounds))
        return
    print(plan)
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))
    for line in sentences(found, rounds=rounds):
        print(line)
