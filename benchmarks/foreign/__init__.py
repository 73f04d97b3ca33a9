"""Converts models of other libraries to CoordConv layers, and records what works and why the rest fails."""
