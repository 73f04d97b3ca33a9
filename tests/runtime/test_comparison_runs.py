"""Tests of how ``compare`` reads runs: Lightning's loggers, resumed runs, cut lines, broken files, missing folders."""

import itertools
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.summary.writer import event_file_writer

from lightning_coordconv.runtime.comparison.arms import gather
from lightning_coordconv.runtime.comparison.runs import find_runs
from lightning_coordconv.runtime.csv_rows import keep_rows
from tests.runtime.compared_runs import compare, fails, write_csv
from tests.slow import slow_except


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
@pytest.mark.parametrize("seeded", slow_except([True], [True, False]))
def test_runs_of_lightnings_loggers(tmp_path, capsys, kind, seeded):
    for arm, offset in (("mine", 0.0), ("other", 1.0)):
        for seed in range(3):
            logger = kind(tmp_path, name=arm)
            logger.log_hyperparams({"lr": offset, "seed": seed} if seeded else {"lr": offset})
            for step in (1, 2):
                logger.log_metrics({"val_loss": offset + seed * step}, step)
            logger.save()
            logger.finalize("success")
    compare(tmp_path, "--figure", tmp_path / "figure.png")
    lines = capsys.readouterr().out.splitlines()
    seeds = "0, 1, 2" if seeded else "3 runs"
    assert lines[2] == f"| mine | {seeds} | 2 (0 to 4) |"
    assert lines[3] == f"| other | {seeds} | 3 (1 to 5) |"
    assert lines[7] == ("| other | 3 | 1 (1 to 1) |" if seeded else "| other | 0 | no seed in common |")


def test_what_add_hparams_writes_is_no_run(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="exp")
    logger.log_metrics({"val_loss": 1.0}, 1)
    logger.experiment.add_hparams({"lr": 0.1}, {"hparam/val_loss": 1.0})
    logger.finalize("success")
    assert len({path.parent for path in tmp_path.rglob("events*")}) == 2
    (run,) = find_runs([tmp_path])
    assert list(run.metrics) == ["val_loss"]


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_the_values_of_a_resumed_run_replace_those_that_were_lost(tmp_path, monkeypatch, kind):
    # event files are in the order of their seconds, and two lives of a run do not begin in the same one
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=itertools.count(1).__next__))
    for life, steps in ((1.0, (1, 2, 3, 4, 5)), (2.0, (3, 4))):
        logger = kind(tmp_path, name="a", version=0)
        if kind is CSVLogger:
            keep_rows(logger)
        for step in steps:
            logger.log_metrics({"val_loss": life * step}, step)
        logger.save()
        logger.finalize("success")
    (run,) = find_runs([tmp_path])
    assert run.curves == {"val_loss": {1: 1, 2: 2, 3: 6, 4: 8}}
    assert run.metrics == {"val_loss": 8}


def test_a_line_that_was_cut_is_left_out(tmp_path):
    write_csv(tmp_path / "a", "0.5\n1,19,0.123456")
    path = tmp_path / "a" / "metrics.csv"
    path.write_text(path.read_text()[:-4])
    (run,) = find_runs([tmp_path])
    assert run.metrics == {"val_acc": 0.5}


def test_missing_and_empty_folders(tmp_path, capsys):
    assert fails(capsys, tmp_path / "none").endswith("none does not exist")
    assert "has no runs of fit: no summary.json, " in fails(capsys, tmp_path)


BROKEN = {
    "summary.json": ['{"experiment": "a"', "[]", '{"experiment": "a", "seed": 0}', "",
                     '{"experiment": "a", "seed": 0, "curve": [{"step": "x", "val": 1}]}'],
    "metrics.csv": ["", "epoch,step,loss\n", "epoch,loss\n0,1.0\n", "step,loss\n1,high\n",
                    "step,loss\n1,0.5\n2\0,0.5\n", "step,loss,loss\n1,0.5,0.6\n"],
    "events.out.tfevents.1": ["", "no events"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_a_broken_file_is_named(tmp_path, capsys, name, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text(text)
    assert str(tmp_path / "run") in fails(capsys, tmp_path)


def test_broken_hyperparameters_are_named(tmp_path, capsys):
    write_csv(tmp_path / "run", 0.5)
    (tmp_path / "run" / "hparams.yaml").write_text("a: [")
    assert f"{tmp_path / 'run' / 'hparams.yaml'} cannot be read: " in fails(capsys, tmp_path)


def test_hyperparameters_that_are_python_objects_tell_arms_apart(tmp_path):
    for number, lr in enumerate((0.1, 0.5)):
        write_csv(tmp_path / f"version_{number}", lr)
        objects = "net: !!python/name:torch.nn.ReLU ''\nsize: !!python/tuple [1, 2]\nbox: !mine {x: 1}\n"
        (tmp_path / f"version_{number}" / "hparams.yaml").write_text(f"lr: {lr}\n{objects}")
    assert [run.config["lr"] for run in find_runs([tmp_path])] == [0.1, 0.5]
    assert len(gather(find_runs([tmp_path]))) == 2


def test_runs_behind_links_are_found(tmp_path):
    write_csv(tmp_path / "elsewhere" / "b" / "version_0", 0.5)
    write_csv(tmp_path / "logs" / "a" / "version_0", 0.4)
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "elsewhere")
    assert [run.name for run in find_runs([tmp_path / "logs"])] == ["a", "link/b"]


def test_a_last_line_without_an_end_is_named(tmp_path, capsys):
    """A killed process can have written a part of its last number."""
    (tmp_path / "metrics.csv").write_text("\ufeffstep,val/loss\n1,0.5\n2,0.4")
    compare(tmp_path)
    output = capsys.readouterr()
    assert "| 0.5 |" in output.out
    assert output.err == f"Not counted: the last line of {tmp_path / 'metrics.csv'}, which has no end: 2,0.4\n"
