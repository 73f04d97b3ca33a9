"""Package of the repository's benchmarks and experiments, run as ``python -m benchmarks.<name>``, with results."""
