"""Package that converts other libraries' models to CoordConv layers, and records what works and why the rest fails."""
