"""Package of callbacks that draw generated images: samples, interpolations, and positions of the objects in them."""
