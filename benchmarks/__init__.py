"""Benchmarks and experiments of the repository, run as ``python -m benchmarks.<name>``, with their results."""
