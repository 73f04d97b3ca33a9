"""Package of metrics of generated images: Fréchet distance, variation, interpolation, and the objects in them."""
