"""Tests of the package, the benchmarks, the configs and the documents; folders mirror those of the package."""
