"""Tests of semantic segmentation."""
