"""Package that judges which claims of the CoordConv paper hold, by the records of runs, and writes the page on them."""
