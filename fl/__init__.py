"""Federated training under a protection, and the audit of what it leaks.

The only package that knows the other three: it fills their borders
(`secagg.Aggregator`, `attacks.Observation`, `attacks.Trainer`) and writes the page.
Start at `fl.audit`.
"""
