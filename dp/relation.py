"""Which data sets are neighbours: an epsilon says nothing without its relation.

* *add or remove one*: one unit is there in one of the two and not in the other.
* *zero out one*: one unit puts in zeros in one of the two, and its share of any noise
  in both. For a noisy sum the accounting is that of adding or removing one.
* *replace one*: one unit puts in anything else in its place. Whatever it moves, it can
  move twice as far, and sampling units amplifies it otherwise, which is not accounted
  for here.

An event of noise is stated for the sensitivity under the relation of its ledger: the
multiplier of a Gaussian is its deviation over that sensitivity.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from dp.errors import ParameterError

Relation: TypeAlias = Literal["add or remove one", "zero out one", "replace one"]
RELATIONS: Final[tuple[str, ...]] = get_args(Relation)
ADD_OR_REMOVE: Final = "add or remove one"
ZERO_OUT: Final = "zero out one"
REPLACE: Final = "replace one"

_NEIGHBOURS: Final = {
    ADD_OR_REMOVE: "if adding or removing one {unit} turns one into the other",
    ZERO_OUT: "if one {unit} puts in zeros in one of them, and is otherwise there in "
    "both",
    REPLACE: "if one {unit} puts in anything else in one of them, and is there in both",
}


def check_relation(relation: str) -> None:
    """Refuse a relation that is not accounted for.

    Raises:
        ParameterError: the caller's.
    """
    if relation not in RELATIONS:
        known = ", ".join(repr(one) for one in RELATIONS)
        raise ParameterError(
            f"relation={relation!r} is not accounted for; use one of {known}."
        )


def neighbours(relation: str, unit: str) -> str:
    """Say when two data sets are neighbours, as the end of a sentence.

    Raises:
        ParameterError: the caller's: another relation.
    """
    check_relation(relation)
    return _NEIGHBOURS[relation].format(unit=unit)
