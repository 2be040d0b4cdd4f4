"""Attacks on what records or clients are like, beyond whether they were trained on.

`attributes` guesses one field of a record whose other fields are known; `updates` says
whether the records behind an update share a property.
"""

from attacks.property.attributes import (
    LEVELS_MOST,
    impute,
    levels_of,
    posterior,
    substituted,
)
from attacks.property.updates import property_scores

__all__ = [
    "LEVELS_MOST",
    "impute",
    "levels_of",
    "posterior",
    "property_scores",
    "substituted",
]
