"""Judges from the records of runs which claims of the CoordConv paper hold."""
