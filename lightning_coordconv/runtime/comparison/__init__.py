"""Package of modules that compare runs: read metrics, group runs that differ in the seed, write tables and curves."""
