"""Tests of the comparison of the paper's detector in eight variants: its runs, skipped runs, and its table."""

import json

import pytest

from benchmarks import detection_verdict
from lightning_coordconv.detection import FieldOfMnistDataModule


def command(folder, *options: str) -> None:
    detection_verdict.main([*options, "--records", str(folder)])


def test_runs_with_a_record_are_skipped(tmp_path, capsys, monkeypatch):
    made = []

    def train(run, *sizes):
        made.append(run)
        if len(made) == 5:
            raise KeyboardInterrupt
        return run._asdict() | {"test": {"test/best_iou": 0.5}, "seconds": 1.0}

    monkeypatch.setattr(detection_verdict, "train", train)
    command(tmp_path, "--list")
    assert "32 of 32 runs are left: about 6.9 hours of one core" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path, "--run")
    assert len(list(tmp_path.rglob("*.json"))) == 4
    command(tmp_path, "--run")
    assert len(made) == 33
    assert made[4] == made[5]
    assert len(set(made)) == 32
    command(tmp_path, "--list")
    assert "0 of 32 runs are left" in capsys.readouterr().out


def test_the_table_averages_over_seeds_and_tells_the_gain(tmp_path, capsys):
    for arm, values in {"conv": (0.5, 0.7), "coordconv": (0.75,)}.items():
        for seed, value in enumerate(values):
            path = detection_verdict.Run("clip+same", arm, seed).record(tmp_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            test = {f"test/{name}": value for name in detection_verdict.COLUMNS}
            path.write_text(json.dumps({"seed": seed, "test": test, "epochs": [{}, {"train/positive_iou": 0.25}]}))
    command(tmp_path, "--table")
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| clip+same | conv | 0, 1 | 0.600 | 0.600 | 0.600 | 0.600 | 0.600 | 0.250 |",
        "| clip+same | coordconv | 0 | 0.750 | 0.750 | 0.750 | 0.750 | 0.750 | 0.250 |",
        "",
        "Gain in the IoU of the best-scored box: clip+same, coordconv +25.0 %.",
    ]


@pytest.mark.slow
def test_a_run_is_what_its_name_says(tmp_path, monkeypatch):
    """A few steps; the task and the data have the details of the variant."""
    seen = []
    original = detection_verdict.RegionProposal
    monkeypatch.setattr(detection_verdict, "RegionProposal", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1])
    record = detection_verdict.train(detection_verdict.Run("clip+pairs+same", "zero_to_one", 1), 4, 2, 1)
    (task,) = seen
    assert (task.clip, task.pairs, task.match_unseen) == (True, True, True)
    assert task.net.backbone[0].padding == (2, 2)
    assert type(task.net.backbone[0].encoding).__name__ == "ZeroToOne"
    assert set(detection_verdict.COLUMNS) - {"positive_iou"} <= {name.removeprefix("test/") for name in record["test"]}
    assert len(record["epochs"]) == 1
    assert FieldOfMnistDataModule(4, 2, keep_outside=True).dataset("train").boxes[0].shape == (5, 4)
