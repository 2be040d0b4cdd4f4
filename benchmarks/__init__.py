"""Speed measured: `python -m benchmarks NAME` from the root of a checkout.

Not in the wheel. Each benchmark alternates the things it compares in one run, checks
that they computed the same, prints a table with ranges, and ends with one line of JSON.
"""
