"""Records: where they come from, and what is learnt of them before training.

    raw = load(config.data, seed)              # a Dataset, or a RawTable
    learnt = learn(raw, training_rows, total)  # a table's quantiles, by sums only
    dataset = apply(raw, learnt)               # what models are trained on

A file or user function is read by `load`; nothing here splits, deals out or trains.
"""

from fl.data.declared import declared
from fl.data.load import load
from fl.data.prepare import Learnt, SecureSum, apply, learn
from fl.data.records import Column, Dataset, RawTable

__all__ = [
    "Column",
    "Dataset",
    "Learnt",
    "RawTable",
    "SecureSum",
    "apply",
    "declared",
    "learn",
    "load",
]
