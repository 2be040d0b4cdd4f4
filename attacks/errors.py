"""What can go wrong in an attack, and whose fault it is.

The tree::

    AttackError
    +-- ObservationError (ValueError)   the caller built an impossible observation
    +-- MissingKnowledge                the adversary does not know what is needed
    +-- LabelsUnavailable               the update shows no class counts
    +-- ParameterError (ValueError)     the caller's settings cannot work
    +-- ScoringError (ValueError)       reconstructions and truth cannot be compared
    +-- TooFewShadows                   not enough shadow models to say anything
    +-- Unresolvable                    not enough records for the figure asked for

An attack that runs and *fails* raises nothing: it returns a reconstruction that says
so, and the failure is counted. Nothing here prints a record.
"""

# ruff: noqa: N818 - the names say what is missing; "Error" would add nothing.


class AttackError(Exception):
    """Root of every error of this package."""


class ObservationError(AttackError, ValueError):
    """An observation contradicts itself; the caller's fault."""


class MissingKnowledge(AttackError):
    """An attack was handed an observation without a field that it needs."""

    def __init__(self, attack: str, field: str) -> None:
        super().__init__(
            f"Attack {attack!r} needs {field!r}, which this observation does not "
            "hold; use an adversary who knows it, or leave this attack out."
        )
        self.attack = attack
        self.field = field


class LabelsUnavailable(AttackError):
    """The update holds no gradient from which class counts could be read."""


class ParameterError(AttackError, ValueError):
    """A setting or an array given by the caller cannot be used."""


class ScoringError(AttackError, ValueError):
    """Reconstructions, truth and nulls do not fit together."""


class TooFewShadows(AttackError):
    """A shadow-model attack was given too few models to be worth its name."""

    def __init__(self, need: int, have: int, what: str) -> None:
        super().__init__(
            f"The attack needs at least {need} {what} but got {have}; train more."
        )
        self.need = need
        self.have = have


class Unresolvable(AttackError):
    """A false-positive rate was asked for that the non-members cannot resolve."""

    def __init__(self, fpr: float, need: int, have: int) -> None:
        super().__init__(
            f"TPR at FPR={fpr:g} needs at least {need} non-members but got {have}; "
            "report it as not resolvable or add records."
        )
        self.fpr = fpr
        self.need = need
        self.have = have
