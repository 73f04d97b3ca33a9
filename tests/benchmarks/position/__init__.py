"""Tests of the position benchmark, which trains small tasks with and without coordinates."""
