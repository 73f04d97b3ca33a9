"""Callbacks that draw generated images."""
