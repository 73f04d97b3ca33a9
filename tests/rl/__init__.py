"""Tests of agents, their environments and their training."""
