"""Benchmarks against what one would use otherwise; see RESULTS.md and `python -m bench --help`."""
