"""Hostile bytes at every decoder, client and server (python -m tests.fuzz)."""
