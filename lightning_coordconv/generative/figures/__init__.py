"""Callbacks that draw generated images: samples, interpolations, and positions of the objects in them."""
