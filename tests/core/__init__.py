"""Tests of the base classes and functions of all domains."""
