"""Attribute inference: guess one field of a record whose other fields are known.

The attacker of Fredrikson et al. (CCS 2015) and Yeom et al. (CSF 2018, section 4): it
knows a record but for one field, its label, how the field goes with the others among
other people, and asks the model under which value the label is likeliest.

Most of what such an attack names right needs no model at all: it is imputation
(Jayaraman and Evans, "Are attribute inference attacks just imputation?", CCS 2022). So
`impute` is both the attack's prior and its null: it sees the same fields, the label and
the same auxiliary records, and never the model.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from attacks.errors import ParameterError
from attacks.tables import Field

Floats = NDArray[np.float64]
Records = NDArray[np.floating]
Labels = NDArray[np.integer]

LEVELS_MOST = 10
"""Values that a field may take: more, and it is a quantity, not an attribute."""


def levels_of(records: Records, field: Field) -> Floats:
    """Return the values that a field takes among records, (V, its columns), sorted.

    Args:
        records: (N, columns), those that the attacker knows whole.
        field: of a row.

    Raises:
        ParameterError: it takes a single value, or more than `LEVELS_MOST`.
    """
    _check(records, field)
    levels = np.unique(records[:, list(field.columns)].astype(np.float64), axis=0)
    if not 2 <= len(levels) <= LEVELS_MOST:
        raise ParameterError(
            f"Field {field.name!r} takes {len(levels)} values among the records that "
            f"the attacker knows; name one that takes 2 to {LEVELS_MOST}."
        )
    return levels


def level_numbers(records: Records, field: Field, levels: Floats) -> NDArray[np.int64]:
    """Return which value each record has, (N,) in 0..V-1, or -1 if none of them."""
    _check(records, field)
    own = records[:, list(field.columns)].astype(np.float64)
    same = (own[:, None, :] == levels[None, :, :]).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1).astype(np.int64)


def substituted(
    records: NDArray[np.float32], field: Field, levels: Floats
) -> NDArray[np.float32]:
    """Return every record under every value of the field, (V, N, columns).

    What the field held is overwritten in all V copies, so that nothing of it is left.
    """
    _check(records, field)
    copies = np.repeat(records[None], len(levels), axis=0)
    for copy, level in zip(copies, levels, strict=True):
        copy[:, list(field.columns)] = level
    return copies


def impute(
    known: Records,
    known_labels: Labels,
    records: Records,
    labels: Labels,
    field: Field,
    levels: Floats,
) -> Floats:
    """Return log probabilities of the field's values, without any model, (N, V).

    A multinomial logistic regression from the other fields and the label, fitted to
    records that the attacker knows whole; then mixed with one part in as many as there
    are such records of the uniform distribution, so that no value is ruled out.

    Args:
        known: (A, columns), whole records of other people.
        known_labels: (A,).
        records: (N, columns); the field's own columns are not looked at.
        labels: (N,).
        field: to be guessed.
        levels: its values, by `levels_of(known, field)`.

    Raises:
        ParameterError: shapes do not fit, or fewer than 2 values occur in `known`.
    """
    truth = level_numbers(known, field, levels)
    usable = truth >= 0
    if len(np.unique(truth[usable])) < 2:
        raise ParameterError(
            f"Field {field.name!r} has a single value among the known records; there "
            "is nothing to guess."
        )
    inputs, asked = _without(known, known_labels, records, labels, field)
    scaler = StandardScaler().fit(inputs)
    fitted = LogisticRegression(C=0.05, max_iter=500).fit(
        scaler.transform(inputs)[usable], truth[usable]
    )
    probable = np.zeros((len(records), len(levels)))
    probable[:, fitted.classes_] = fitted.predict_proba(scaler.transform(asked))
    uniform = 1 / (1 + int(usable.sum()))
    return np.asarray(np.log((1 - uniform) * probable + uniform / len(levels)))


def posterior(log_prior: Floats, log_likelihood: Floats) -> Floats:
    """Join what imputation says with what the model says, (N, V) log probabilities.

    Bayes: proportional to p(value | other fields) p(label | record with that value).

    Raises:
        ParameterError: shapes differ, or something is not finite.
    """
    if log_prior.shape != log_likelihood.shape or log_prior.ndim != 2:
        raise ParameterError(
            f"The prior {log_prior.shape} and the likelihood {log_likelihood.shape} "
            "must both be (records, values)."
        )
    joint = log_prior + log_likelihood
    if not np.isfinite(joint).all():
        raise ParameterError("Log probabilities must be finite.")
    top = joint.max(axis=1, keepdims=True)
    rest = np.log(np.exp(joint - top).sum(axis=1, keepdims=True))
    return np.asarray(joint - top - rest)


def _without(
    known: Records, known_labels: Labels, records: Records, labels: Labels, field: Field
) -> tuple[Floats, Floats]:
    """Return both sets without the field's columns, the label as one column a class."""
    if len(known) != len(known_labels) or len(records) != len(labels):
        raise ParameterError("Every record needs its label.")
    classes = 1 + int(max(known_labels.max(), labels.max()))

    def inputs(rows: Records, own: Labels) -> Floats:
        rest = np.delete(rows.astype(np.float64), list(field.columns), axis=1)
        return np.concatenate([rest, np.eye(classes)[own]], axis=1)

    return inputs(known, known_labels), inputs(records, labels)


def _check(records: Records, field: Field) -> None:
    if records.ndim != 2 or max(field.columns) >= records.shape[1]:
        raise ParameterError(
            f"Field {field.name!r} with columns {field.columns} does not fit records "
            f"of shape {records.shape}; attributes are fields of tables."
        )
