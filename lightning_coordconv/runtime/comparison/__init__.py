"""Compares runs: reads their metrics, gathers seeds into arms, and writes tables and learning curves."""
