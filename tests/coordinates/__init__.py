"""Tests of the coordinate tasks and of finding points in pictures."""
