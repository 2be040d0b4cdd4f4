"""What the user of the command can get wrong, and can put right.

    UserError            bad input: one sentence with what, where and the cure
    ├── ConfigError      the TOML file, a --set or a flag
    ├── DataError        a data file, a column, a record, a partition
    ├── ModelError       a model that cannot be built, trained or summed
    ├── UpdateError      a saved update that cannot be read or attacked
    ├── LedgerFileError  a privacy ledger that cannot be opened or read
    ├── ResumeError      a stopped run that cannot be gone on with
    └── TrackingError    TensorBoard or MLflow cannot be written to

The command prints the sentence and exits with status 2; anything else that
escapes is a defect of ours. Errors here never quote a cell, a pixel or a label of
a record: they name the file, the line and the column.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input from the user: the message says what, where, and what to do."""


class ConfigError(UserError):
    """The configuration cannot be used as written."""


class DataError(UserError):
    """The records cannot be read, or not be used as the configuration asks."""


class ModelError(UserError):
    """The model cannot be built, trained or summed over clients."""


class UpdateError(UserError):
    """A saved update cannot be read, does not fit its model, or cannot be attacked."""


class LedgerFileError(UserError):
    """A privacy ledger's file cannot be opened, or keeps another budget."""


class ResumeError(UserError):
    """A stopped run cannot be gone on with to the same bits."""


class TrackingError(UserError):
    """TensorBoard or MLflow cannot be written to."""
