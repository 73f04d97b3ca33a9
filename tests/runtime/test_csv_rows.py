"""Tests that a CSVLogger restarted in the folder of a run keeps the earlier rows, and drops a row that was cut."""

import csv

import pytest
from pytorch_lightning.loggers import CSVLogger

from lightning_coordconv.runtime.csv_rows import keep_rows


def log(root, rows):
    """Log rows with a new logger of the same folder, as a process does, and return what the file then holds."""
    logger = CSVLogger(root, name="run", version=0)
    keep_rows(logger)
    for step, row in rows:
        logger.log_metrics(row, step)
    logger.save()
    with (root / "run" / "version_0" / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("names", [["a"], ["b"], ["a", "b"], []])
def test_rows_are_appended_whatever_was_logged_before(names, tmp_path):
    first = log(tmp_path, [(0, {"a": 1.0}), (1, {"a": 2.0, "c": 3.0})])
    assert first == [{"step": "0", "a": "1.0"}, {"step": "1", "a": "2.0", "c": "3.0"}]
    new = dict.fromkeys(names, 4.0)
    second = log(tmp_path, [(2, new)] if names else [])
    assert second == first + ([{"step": "2", **dict.fromkeys(names, "4.0")}] if names else [])
    assert log(tmp_path, [])[:2] == first


def test_a_row_that_was_cut_is_dropped(tmp_path):
    first = log(tmp_path, [(0, {"a": 1.0})])
    with (tmp_path / "run" / "version_0" / "metrics.csv").open("a") as file:
        file.write("0.12")
    assert log(tmp_path, [(1, {"a": 2.0})]) == [*first, {"step": "1", "a": "2.0"}]
