"""Tests of the checkpoint that a command loads (``last``, ``best``, a file), and of what a resumed run keeps."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevrDataModule,
)
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.runtime.checkpoints import load_checkpoint
from lightning_coordconv.runtime.cli import main
from tests.core.test_checkpoints import trained

__all__ = ["trained"]
CONFIG = Path(__file__).parents[2] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"
SMALL = ("-c", str(CONFIG), "--data.canvas=16", "--data.size=3", "--model.net.init_args.canvas=16",
         "--model.net.init_args.mul=1", "--trainer.limit_val_batches=1", "--trainer.check_val_every_n_epoch=null",
         "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false")  # fmt: skip
RUN = Path("logs", "coordinates", "classification_quadrant_deconv")
TWO = ("--trainer.max_steps=2", "--trainer.logger.init_args.version=mine")


@pytest.fixture
def copied(trained, tmp_path, monkeypatch) -> Path:
    """Copy the folder of a run into the working folder, and return it."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained.parents[1], RUN / "version_0")


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
@pytest.mark.parametrize("interval", [2, 100])
def test_steps_after_the_last_validation_are_saved(cli, interval):
    arguments = ("--trainer.max_steps=3", "--trainer.logger.init_args.version=mine")
    folder = cli("fit", *SMALL, *arguments, f"--trainer.val_check_interval={interval}") / RUN / "mine"
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    cli(
        "fit",
        *SMALL,
        *arguments,
        f"--trainer.val_check_interval={interval}",
        "--trainer.max_steps=5",
        "--ckpt_path=last",
    )
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("interval", [4, 100])
def test_a_run_that_ended_within_an_epoch_continues_with_the_samples_that_are_left(cli, interval):
    """More steps later are the same run as more steps at once, bit for bit: Lightning counted the epoch as complete."""
    arguments = ("fit", *SMALL, f"--trainer.val_check_interval={interval}", "--trainer.logger.init_args.version")
    folder = cli(*arguments, "whole", "--trainer.max_steps=6") / RUN
    cli(*arguments, "parts", "--trainer.max_steps=3")
    cli(*arguments, "parts", "--trainer.max_steps=6", "--ckpt_path=last")
    whole, parts = (
        torch.load(folder / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "parts")
    )
    assert parts["epoch"] == whole["epoch"]
    for name, weight in whole["state_dict"].items():
        assert torch.equal(parts["state_dict"][name], weight)


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_keeps_its_summary(cli):
    folder = cli("fit", *SMALL, *TWO)
    path = folder / RUN / "mine" / "summary.json"
    before = json.loads(path.read_text())
    assert len(before["curve"]) == before["steps"] == 2
    cli("fit", *SMALL, *TWO, "--ckpt_path=last")
    assert json.loads(path.read_text()) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["test", "predict"])
def test_an_evaluation_in_the_folder_of_a_fit_leaves_its_files(cli, command):
    folder = cli("fit", *SMALL, *TWO) / RUN / "mine"
    before = {name: (folder / name).read_text() for name in ("summary.json", "config.yaml")}
    cli(command, *SMALL, *TWO[1:], "--ckpt_path=last")
    assert {name: (folder / name).read_text() for name in before} == before
    main(["compare", str(folder.parent)])


@pytest.mark.slow
def test_a_copied_checkpoint_that_is_continued_elsewhere_is_tested(cli, copied, tmp_path, caplog):
    """The best checkpoint that it names is in another folder."""
    last = shutil.copy(copied / "checkpoints" / "last.ckpt", tmp_path / "copied.ckpt")
    shutil.rmtree(copied)
    with caplog.at_level("INFO"):
        cli("fit", *SMALL, "--trainer.max_steps=3", "--ckpt_path", last, "--trainer.logger.init_args.version=new")
    (best,) = (path for path in (tmp_path / RUN / "new" / "checkpoints").iterdir() if path.name != "last.ckpt")
    assert f"Loaded model weights from the checkpoint at {best.relative_to(tmp_path)}" in caplog.text
    assert "test/accuracy" in json.loads((tmp_path / RUN / "new" / "summary.json").read_text())["test"]


@pytest.mark.slow
def test_a_checkpoint_cannot_have_other_files_removed(cli, copied, tmp_path):
    """Lightning removes the checkpoint that is no longer the best, wherever a resumed checkpoint says that it is."""
    victim = tmp_path / "victim.ckpt"
    victim.write_text("valuable")
    path = copied / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "best_model_path" in state:
            named = f"{copied.resolve()}/checkpoints/../../../../../victim.ckpt"
            state |= {"best_model_path": named, "kth_best_model_path": named, "best_model_score": torch.tensor(-1.0),
                      "kth_value": torch.tensor(-1.0), "best_k_models": {named: torch.tensor(-1.0)}}  # fmt: skip
            del state["dirpath"]
    torch.save(checkpoint, path)
    cli("fit", *SMALL, "--trainer.max_steps=4", "--ckpt_path=last", "--trainer.logger.init_args.version=version_0")
    assert victim.read_text() == "valuable"


class WholeBatches(NotSoClevrDataModule):
    """Leaves out training samples that do not fill a batch."""

    drop_last = True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
def test_a_fit_without_an_optimiser_step_is_refused(cli):
    """Fewer samples than a batch has."""
    with pytest.raises(
        SystemExit, match=r"error: the train split of WholeBatches has \d+ samples, too few for a batch of \d+"
    ):
        cli("fit", *SMALL, *TWO, f"--data={__name__}.WholeBatches", "--data.batch_size=1000")


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
