"""Gather everything that the page rests on, stage by stage.

Stages run in the order in which they matter. Ctrl-C during a stage ends the gathering;
what was complete by then is kept, and the page says of the rest that it was not
measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.evidence import Evidence
from fl.stages import (
    Setting,
    epsilon,
    inversion,
    membership,
    properties,
    training,
)

INVERSION, MEMBERSHIP, EPSILON = "inversion", "membership", "epsilon"
PROPERTY = "property"
FAMILIES = (INVERSION, MEMBERSHIP, PROPERTY, EPSILON)


def gather(setting: Setting, *, families: Sequence[str] = FAMILIES) -> Evidence:
    """Train under each protection, then run the attack families.

    Raises:
        KeyboardInterrupt: stopped before the first repetition was complete.
        UserError: the data or the plan do not allow a round.
    """
    evidence = Evidence()
    stages = {
        INVERSION: inversion.run,
        MEMBERSHIP: membership.run,
        PROPERTY: properties.run,
        EPSILON: epsilon.run,
    }
    chosen = [("training", training.run)]
    chosen += [(name, stages[name]) for name in stages if name in families]
    for name, stage in chosen:
        try:
            stage(setting, evidence)
        except KeyboardInterrupt:
            if not evidence.repeats:
                raise
            evidence.stopped = name
            break
    return evidence
