"""Compares runs: reads their metrics, groups runs that differ in the seed only, and writes tables and curves."""
