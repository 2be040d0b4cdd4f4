"""Run the membership attacks on everything that an adversary gets to see.

`targets` says who sees which model, `shadows` trains the shadow models that attacks
share, `released` attacks one model at a time. Each kind of attack is one maker of
findings; a further kind (on the updates of the rounds, say) is one more line below.
"""

from __future__ import annotations

from collections.abc import Callable

from fl.config import Config
from fl.finding import Finding, Missing
from fl.membership import federated, released
from fl.membership.persons import of_persons
from fl.membership.released import LIRA, LOSS, learns
from fl.membership.shadows import Shadows, train_shadows
from fl.membership.targets import Runs, Target
from fl.protection import Protection

__all__ = ["LIRA", "LOSS", "Shadows", "Target", "findings", "learns", "train_shadows"]

Maker = Callable[[Runs, Protection, Shadows | Missing, Config], list[Finding]]

# In the order of the page.
MAKERS: tuple[Maker, ...] = (released.findings, federated.findings)


def findings(
    runs: Runs,
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack everything that each adversary sees under ``protection``.

    Args:
        runs: the repetitions under this protection, with their rounds kept whole.
        protection: that they were run under.
        shadows: trained like the released model, or why there are none.
        config: the resolved configuration.

    Returns:
        Findings with raw scores; nothing is judged yet.
    """
    found = [
        finding
        for make in MAKERS
        for finding in make(runs, protection, shadows, config)
    ]
    return found + of_persons(found)
