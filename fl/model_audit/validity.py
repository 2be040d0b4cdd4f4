"""Whether the audit can mean anything: members must not show by their records alone.

If somebody who has never seen the model tells members from non-members, then so does
every attack, and what it finds says nothing about the model.
"""

from __future__ import annotations

from fl.model_audit.records import Pool
from fl.report import Gate


def validity(pool: Pool, *, seed: int) -> tuple[Gate, ...]:
    """Return the gates about the records; none where there is no check of them."""
    del pool, seed  # the blind baseline of `attacks` takes its place here
    return ()
