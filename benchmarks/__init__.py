"""Benchmarks: ``python -m benchmarks.NAME --json`` prints one JSON object, whose keys NAME's docstring explains."""
