"""Tests of object detection."""
