"""Tests of the environments of agents."""
