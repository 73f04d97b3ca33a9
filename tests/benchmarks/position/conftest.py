"""Fixture that makes the data sets of the position benchmark small for its tests."""

import pytest

from benchmarks.position import keypoints, objects, run, sensor, signals, wafers

COUNTS = {"train": 128, "val": 20, "test": 40, "predict": 40}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    counts = dict(COUNTS)
    for module in (keypoints, objects, sensor, signals, wafers):
        monkeypatch.setattr(module, "COUNTS", counts)
    yield
    run.make_data.cache_clear()
