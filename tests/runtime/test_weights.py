"""Tests of the checkpoint that a command loads: ``last``, ``best``, ``none``, a file or a name, and what is refused."""

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    CoordinateRendering,
    DeconvDecoder,
)
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.runtime.checkpoints import load_checkpoint
from lightning_coordconv.runtime.weights import check_version, find_newest
from tests.runtime.runs import RUN, SMALL, TWO


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_evaluated_only_on_request(cli, capsys, command):
    with pytest.raises(SystemExit) as exit_info:
        cli(command, *SMALL)
    assert exit_info.value.code == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith(f"error: {command} needs trained weights: give --ckpt_path")
    )
    folder = cli(command, *SMALL, "--ckpt_path=none")
    assert len(list((folder / RUN).iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("keyword", ["last", "best"])
def test_keywords_mean_the_newest_run_of_the_experiment(cli, copied, caplog, keyword):
    older = shutil.copytree(copied, copied.with_name("older"))
    torch.save({"state_dict": {}}, older / "checkpoints" / "last.ckpt")
    (copied / "checkpoints" / "last.ckpt").touch()
    with caplog.at_level("INFO"):
        cli("test", *SMALL, "--ckpt_path", keyword)
    (path,) = (path for path in (copied / "checkpoints").iterdir() if (path.name == "last.ckpt") == (keyword == "last"))
    assert f"--ckpt_path {keyword} is {path}" in caplog.text
    assert f"Loaded model weights from the checkpoint at {path}" in caplog.text


@pytest.mark.parametrize("version", ["version_0", "wide/seed_1"])
def test_the_newest_run_is_found_whatever_its_version_is_called(version, tmp_path):
    last = tmp_path / "experiment" / version / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    trainer = Trainer(accelerator="cpu", logger=CSVLogger(tmp_path, "experiment", version="new"))
    assert find_newest("last", trainer) == str(last)
    with pytest.raises(ValueError, match=f"or --ckpt_path {last}"):
        check_version(Namespace(init_args={"version": None}), trainer)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_without_a_run_there_is_no_last_checkpoint(cli, capsys, command):
    with pytest.raises(SystemExit):
        cli(command, *SMALL, "--ckpt_path=last")
    assert "error: no run with a last.ckpt in logs/coordinates" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [True, False])
def test_a_fit_resumes_from_last_only_in_a_version_that_was_chosen(cli, capsys, earlier, tmp_path):
    """Lightning would begin another run in another folder, with a hint that is wrong."""
    last = Path(RUN, "version_0", "checkpoints", "last.ckpt")
    if earlier:
        (tmp_path / last).parent.mkdir(parents=True)
        (tmp_path / last).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit):
        cli("fit", *SMALL, "--ckpt_path=last")
    error = capsys.readouterr().err.splitlines()[-1]
    assert "add --trainer.logger.init_args.version NAME" in error
    assert error.endswith(f" or --ckpt_path {last}") == earlier
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_file_called_like_a_keyword_is_still_checked(cli, tmp_path, capsys):
    torch.save({"state_dict": CoordinateClassification(DeconvDecoder(2, 3)).state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(SystemExit):
        cli("fit", *SMALL, *TWO, "--ckpt_path=last.ckpt")
    assert "last.ckpt holds weights of another architecture" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_of_another_task_is_refused_whatever_fits(tmp_path):
    """Two tasks can have networks with weights of the same names and shapes."""
    task, other = CoordinateClassification(DeconvDecoder(16, 1)), CoordinateRendering(DeconvDecoder(16, 1))
    checkpoint = {
        "state_dict": task.state_dict(),
        "inference": {"task": f"{type(other).__module__}.{type(other).__name__}"},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="is a checkpoint of CoordinateRendering, and CoordinateClassification"):
        load_checkpoint(tmp_path / "last.ckpt", task)


@pytest.mark.slow
def test_a_run_without_checkpoints_tests_its_last_weights(cli, capsys):
    folder = cli("fit", *SMALL, *TWO, "--trainer.enable_checkpointing=false")
    assert not list(folder.rglob("*.ckpt"))
    assert "the test uses the last weights" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "test"])
def test_an_unknown_name_of_weights_is_refused_with_the_known_ones(cli, capsys, command):
    with pytest.raises(SystemExit) as exit_info:
        cli(command, *SMALL, "--ckpt_path=pianter")
    assert exit_info.value.code
    message = str(exit_info.value.code) + capsys.readouterr().err
    assert "error: no checkpoint at pianter, and no weights of that name in this package, which has " in message
    assert "painter" in message
    assert not Path("logs").exists()
