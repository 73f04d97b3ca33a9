"""Package that compares runs: reads metrics, groups runs that differ in the seed only, writes tables and curves."""
