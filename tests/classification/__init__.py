"""Tests of image classification."""
