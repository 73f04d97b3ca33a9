"""Models of other libraries, converted to CoordConv layers: what works, and what does not for which reason."""
