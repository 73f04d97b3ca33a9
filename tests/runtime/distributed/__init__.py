"""Tests of runs in several processes."""
