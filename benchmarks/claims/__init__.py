"""Judges which claims of the CoordConv paper hold, from the records of runs, and writes the page on them."""
