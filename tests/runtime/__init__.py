"""Tests of the command line, checkpoints, callbacks and distributed runs."""
