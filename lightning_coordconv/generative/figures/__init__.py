"""Package of modules whose callbacks draw generated images: samples, interpolations, and positions of objects."""
