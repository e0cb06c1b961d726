"""Replacing the machines of a running cluster by another release, one after the other, gated on health."""
