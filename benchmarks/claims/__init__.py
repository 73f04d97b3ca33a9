"""Package of modules that judge by runs' records which claims of the CoordConv paper hold, and write a page on them."""
