"""Tests of the layers, encodings and model conversion."""
