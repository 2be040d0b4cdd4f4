"""Audit a model that was trained elsewhere: the same page, from what can be given.

A file of parameters, a function, an estimator or a file of scores; two sets of records;
and, where there is one, a claim. Views that nobody gave are not measured, and say so.
"""

from fl.model_audit.audit import audit_model, run
from fl.model_audit.claims import Claimed, parse
from fl.model_audit.sources import Request

__all__ = ["Claimed", "Request", "audit_model", "parse", "run"]
