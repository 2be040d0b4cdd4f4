"""`blindsum report`: show a finished run, print it, or compare two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from fl import audit as audits
from fl.compare import compare
from fl.console import differences, settings, tally
from fl.pdf import print_page
from fl.status import GATE_FAILED


class _ReportGroup(TyperGroup):
    """`report RUN` means `report show RUN`; a folder called diff is ./diff."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


REPORT_EXAMPLES = """
Examples:

  blindsum report runs/latest

  blindsum report runs/latest --pdf

  blindsum report diff runs/before runs/after
"""

report_app = typer.Typer(
    cls=_ReportGroup,
    help="Show a finished run (`report RUN`), print it, or compare two.",
    epilog=REPORT_EXAMPLES,
)
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder under runs/.")]


@report_app.command("show", epilog=REPORT_EXAMPLES)
def report_show(
    run: Run,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the page to report.pdf (Chromium).")
    ] = False,
) -> None:
    """Print a run's answer and check its report.json; `report RUN` is short for it."""
    found = audits.read_report(run)
    printed = print_page(run) if pdf else None
    for sentence in found.answer:
        print(sentence)
    print(f"Page: {run / 'report.html'}")
    if printed is not None:
        print(f"PDF: {printed}")


@report_app.command("diff", epilog=REPORT_EXAMPLES)
def report_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The run before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The run to judge.")],
) -> None:
    """List what got worse, better, new and gone; status 3 if a gate of NEW fails."""
    found = compare(audits.read_report(old), audits.read_report(new))
    console = Console(width=None if sys.stdout.isatty() else 220)
    if found.settings:
        console.print(settings(found.settings))
    if found.differences:
        console.print(differences(found.differences))
    print(tally(found))
    if found.alarming:
        raise typer.Exit(GATE_FAILED)
