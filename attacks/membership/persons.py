"""Was a person trained on? One score from all records of theirs.

Suri, Kanani, Marathe and Peterson ("Subject membership inference attacks in federated
learning", arXiv 2206.03317): the mean of the scores of a person's records. What a
single record shows hardly, many of one person may show together.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.ranking import Floats, Ints


def by_person(
    scores: Floats, members: NDArray[np.bool_], persons: Ints
) -> tuple[Floats, NDArray[np.bool_], Ints]:
    """Return the mean score of each person, with bit and number, all (people,).

    Args:
        scores: of records, (N,), higher = member.
        members: (N,) bool, equal for all records of a person.
        persons: (N,) whose each record is.

    Raises:
        ParameterError: shapes differ, a score is not finite, or a person is in and out.
    """
    if not scores.shape == members.shape == persons.shape or scores.ndim != 1:
        raise ParameterError("Give every record a score, a bit and a person.")
    if not np.isfinite(scores).all():
        raise ParameterError("scores must be finite.")
    names, of = np.unique(persons, return_inverse=True)
    count = np.bincount(of)
    inside = np.bincount(of, weights=members)
    if ((inside > 0) & (inside < count)).any():
        raise ParameterError("A person is in or out as a whole; one here is in half.")
    mean = np.bincount(of, weights=scores) / count
    return mean, inside > 0, names.astype(np.int64)
