"""The section [data]: where the records come from and what is public about them.

Nothing here is learnt from records: the label rule, the categories, the bounds and
the tokens for "missing" are constants that all clients agree on beforehand. This
module reads no file; see `fl.data.load`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fl.section import Interval, Names, Section, Tokens
from fl.usercode import USER_CODE

BUILT_IN = ("digits", "breast_cancer", "wine")
# A comparison in `positive`: the operator, and what the label is compared with.
CONDITION = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.*\S)\s*")

# What arrays are called that are something else than whose the records are.
ROLES = frozenset(
    f"{name}{part}"
    for name in ("x", "y", "features", "labels", "sites")
    for part in ("", "_train", "_test")
)
# Keys that only .csv data listen to.
CSV_KEYS = (
    *("label", "positive", "missing", "missing_in", "drop", "site_column"),
    "subgroup",
)


class DataConfig(Section):
    """Where the records come from and what is publicly known about them."""

    source: str = Field(
        default="digits",
        description='"digits", "breast_cancer", "wine", a file that ends in .npz or '
        '.csv, or "package.module:function". `path` is a synonym.',
    )
    folder: str = Field(
        default=".",
        description="folder of the data files; a relative one is seen from where "
        "the command runs",
    )
    sites: dict[str, str] = Field(
        default={},
        description="site name -> its .csv file; takes the place of source, and "
        "every site is a client",
    )
    label: str = Field(default="", description="the .csv column to predict")
    positive: str | None = Field(
        default=None,
        description='turns the label into 0/1: "> 0", ">= 2", "== 1", "!= 0", "< 5" '
        'or a literal such as "yes"',
    )
    missing: Tokens = Field(
        default=("",), description='.csv cells that mean "missing", after stripping'
    )
    missing_in: dict[str, Tokens] = Field(
        default={},
        description="column -> further cells that mean missing there, "
        'e.g. {chol = ["0"]}',
    )
    impute: Literal["none", "indicator+median"] = Field(
        default="none",
        description="what a missing number becomes: an error, or the median of all "
        "clients beside a 0/1 column that says it was missing",
    )
    categories: dict[str, Tokens] = Field(
        default={},
        description="column -> its possible values, public constants; one 0/1 "
        "column each, all 0 where the cell is missing",
    )
    drop: Names = Field(default=(), description=".csv columns to leave out")
    site_column: str = Field(
        default="", description=".csv column that names the site of each record"
    )
    subject: str = Field(
        default="",
        description="column (of .csv), array (of .npz) or key (of a function's dict) "
        "that says to whom a record belongs; equal values are one person, at all sites "
        "together. Never a feature and never shown. No person is both trained on and "
        "held out, or dealt to two clients, and one person becomes the unit of "
        "privacy.example unless its unit is given",
    )
    subgroup: str = Field(
        default="",
        description=".csv column whose few values divide people into subgroups, by "
        "which the page says who is exposed and how well the model serves them; it "
        "shows the values. It stays a feature unless it is named in drop",
    )
    bounds: dict[str, Interval] = Field(
        default={},
        description="column -> its public range [low, high]; without one the "
        "quantiles are searched in +-2^20",
    )
    test_fraction: float = Field(
        default=0.4,
        gt=0.0,
        lt=1.0,
        description="share held out for testing, of each site and class; not used "
        "where the file brings its own x_test",
    )
    limit: int | None = Field(
        default=None,
        ge=10,
        description="use at most so many records, drawn by the seed (of x_train and "
        "of x_test each)",
    )

    def file(self, name: str) -> Path:
        """Return the path of a data file: `folder` prefixes it."""
        return Path(self.folder).expanduser() / Path(name).expanduser()

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        is_file = source.lower().endswith((".npz", ".csv"))
        if source in BUILT_IN or is_file or USER_CODE.fullmatch(source):
            return source
        raise ValueError(
            f'is none of {", ".join(BUILT_IN)}, a .npz or .csv file, or "module:'
            f'function"; correct the name.'
        )

    @field_validator("sites")
    @classmethod
    def _csv_sites(cls, sites: dict[str, str]) -> dict[str, str]:
        if len(sites) == 1:
            raise ValueError("has one site; name at least two, or use source.")
        other = [name for name, file in sites.items() if suffix_of(file) != ".csv"]
        if other:
            raise ValueError(f"wants .csv files; correct {', '.join(other)}.")
        return sites

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: dict[str, Interval]) -> dict[str, Interval]:
        for column, (low, high) in bounds.items():
            if not low < high:
                raise ValueError(
                    f"of {column} are [{low}, {high}]; the first must be the smaller."
                )
        return bounds

    @field_validator("categories")
    @classmethod
    def _distinct_levels(cls, levels: dict[str, Tokens]) -> dict[str, Tokens]:
        for column, values in levels.items():
            if len(values) < 2 or len(set(values)) != len(values):
                raise ValueError(f"of {column} must be two or more different values.")
        return levels

    @field_validator("positive")
    @classmethod
    def _comparable(cls, positive: str | None) -> str | None:
        condition = CONDITION.fullmatch(positive or "")
        if condition and condition[1] in (">", ">=", "<", "<="):
            try:
                float(condition[2])
            except ValueError:
                raise ValueError(
                    f"compares with {condition[2]!r}, which is no number; write "
                    f'"== {(positive or "").strip()}" for the label itself, or "> 0".'
                ) from None
        return positive

    @model_validator(mode="after")
    def _csv_needs_label(self) -> Self:
        if self.sites and self.source != "digits":
            raise ValueError("sites and source are both given; remove one of them.")
        if (self.sites or suffix_of(self.source) == ".csv") and not self.label:
            raise ValueError(
                "label is empty; name the .csv column to predict, e.g. "
                'label = "outcome".'
            )
        if self.sites and self.site_column:
            raise ValueError("sites and site_column are both given; remove one.")
        if self.subject and self.subject in (self.label, self.site_column):
            raise ValueError(
                f"subject = {self.subject!r} is the label or the site of records, too; "
                "name the column that says to whom the record belongs."
            )
        both = sorted(set(self.categories) & set(self.bounds))
        if both:
            raise ValueError(f"{both[0]} has both categories and bounds; remove one.")
        return self

    @model_validator(mode="after")
    def _no_key_is_ignored(self) -> Self:
        if self.subject and not self.sites and self.source in BUILT_IN:
            raise ValueError(
                f'subject = {self.subject!r} but the built-in "{self.source}" does not '
                "say to whom a record belongs; remove it."
            )
        if self.sites or suffix_of(self.source) == ".csv":
            return self
        if self.subject in ROLES:
            raise ValueError(
                f"subject = {self.subject!r} already says something else of a record; "
                "give the array of its persons a name of its own."
            )
        fields = type(self).model_fields
        idle = [key for key in CSV_KEYS if getattr(self, key) != fields[key].default]
        if idle:
            raise ValueError(
                f'{idle[0]} is a key of .csv data, but source is "{self.source}"; '
                f"remove one of the two."
            )
        return self


def suffix_of(file: str) -> str:
    """Return the file name's ending in lower case, with its dot."""
    return Path(file).suffix.lower()
