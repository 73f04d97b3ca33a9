"""Tests of the search through the paper's grid of deconvolutions: its halving, records, table, and one short run."""

import math

import pytest

from benchmarks import deconv_grid
from benchmarks.deconv_grid import Point


def quality(point: Point, epochs: int) -> float:
    """A score that ranks the points the same at every length."""
    return (
        1 / (1 + abs(math.log(point.lr / 0.01)) + point.l2 + point.filter_size + point.mul / 10 + point.batch_size)
        + epochs / 1e4
    )


def record_of(point: Point, epochs: int) -> dict[str, object]:
    return {**point._asdict(), "epochs": epochs, "weights": 1, "accuracy": quality(point, epochs), "cpu_seconds": 1.0}


def test_the_best_points_of_each_rung_train_longer_and_records_are_not_made_again(tmp_path):
    made = []

    def measure(point, epochs):
        if len(made) == 20:
            made.append(None)
            raise KeyboardInterrupt
        made.append((point, epochs))
        return record_of(point, epochs)

    assert deconv_grid.halve(tmp_path, None) == []
    with pytest.raises(KeyboardInterrupt):
        deconv_grid.halve(tmp_path, measure)
    (rung,) = deconv_grid.halve(tmp_path, None)
    assert len(rung) == 20
    deconv_grid.halve(tmp_path, measure)
    runs = [run for run in made if run is not None]
    assert len(set(runs)) == len(runs) == 24 + 8 + 3 + 1
    drawn = sorted({point for point, epochs in runs if epochs == 10}, key=lambda point: -quality(point, 0))
    for epochs, number in {30: 8, 90: 3, 200: 1}.items():
        assert {point for point, length in runs if length == epochs} == set(drawn[:number])


def test_points_are_distinct_and_of_the_papers_grid():
    points = deconv_grid.draw(324)
    assert len(set(points)) == 324
    assert deconv_grid.draw(24) == deconv_grid.draw(24)


def test_the_table_shows_the_best_three_of_each_rung_up_to_the_first_that_is_not_complete(tmp_path, capsys):
    deconv_grid.halve(tmp_path / "uniform", record_of)
    next((tmp_path / "uniform" / "90_epochs").glob("*.json")).unlink()
    capsys.readouterr()
    deconv_grid.main(["--table", "--records", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["10"] * 3 + ["30"] * 3 + ["90"] * 2
    assert [row.split("|")[2].strip() for row in rows] == ["24", "", "", "8", "", "", "2 of 3", ""]


@pytest.mark.slow
def test_a_run_trains_its_point_for_its_epochs():
    record = deconv_grid.train(Point(0.01, 0.0, 2, 1, 32), 1, "quadrant")
    assert record["steps"] == math.ceil(2_407 / 32)  # positions whose square lies outside of the fourth quadrant
    assert record["weights"] == 46_465
    assert 0 <= record["accuracy"] < 0.5
