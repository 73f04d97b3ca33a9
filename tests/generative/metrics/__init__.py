"""Tests of the metrics of generated images."""
