"""Tests of resumed runs: steps after the last validation, the rest of an epoch, kept files, copied checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lightning_coordconv.coordinates import CoordinateClassification
from lightning_coordconv.runtime.cli import main
from tests.runtime.runs import RUN, SMALL, TWO


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
def test_a_finished_run_of_whole_epochs_that_is_resumed_keeps_its_metrics_of_training(cli):
    """Its last checkpoint is of the last validation, so Lightning ends an epoch again, without a batch."""
    run = ("fit", *SMALL, *TWO[1:], "--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
    path = cli(*run) / RUN / "mine" / "summary.json"
    before = json.loads(path.read_text())
    assert before["train"]
    assert before["best"]["val/accuracy"] == "max"
    cli(*run, "--ckpt_path=last")
    assert {**json.loads(path.read_text()), "seconds": 0, "cpu_seconds": 0} == before | {"seconds": 0, "cpu_seconds": 0}


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
def test_a_run_that_continues_in_a_new_folder_keeps_the_best_checkpoint_so_far(cli, copied, tmp_path, caplog):
    path = copied / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (state,) = (state for state in checkpoint["callbacks"].values() if state.get("monitor"))
    best, never = state["best_model_path"], torch.tensor(2.0)  # an accuracy that is not reached again
    state |= {"best_model_score": never, "kth_value": never, "best_k_models": {best: never}}
    torch.save(checkpoint, path)
    with caplog.at_level("INFO"):
        cli("fit", *SMALL, "--trainer.max_steps=3", "--ckpt_path", path, "--trainer.logger.init_args.version=new")
        cli("test", *SMALL, "--ckpt_path=best")
    kept = RUN / "new" / "checkpoints" / Path(best).name
    assert f"copied the best checkpoint by {state['monitor']} so far, {copied}/checkpoints/{kept.name}" in caplog.text
    assert f"Loaded model weights from the checkpoint at {kept}" in caplog.text
    assert f"--ckpt_path best is {kept}" in caplog.text
    assert sorted(file.name for file in (tmp_path / kept).parent.iterdir()) == sorted([kept.name, "last.ckpt"])


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


@pytest.mark.slow
def test_a_resumed_run_trains_no_batch_beyond_the_end_of_an_epoch(cli):
    """With an interval at which the validation of the checkpoint is not due, Lightning would train one more."""
    run = ("fit", *SMALL, "--trainer.val_check_interval=1.0", "--trainer.limit_train_batches=2", *TWO[1:])
    folder = cli(*run, "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2") / RUN / "mine"
    with pytest.raises(SystemExit) as raised:
        cli(*run, "--trainer.max_epochs=5", "--trainer.check_val_every_n_epoch=3", "--ckpt_path=last")
    assert "of a validation after 2 epochs, which is not due with trainer.check_val_every_n_epoch 3" in str(
        raised.value
    )
    cli(*run, "--trainer.max_epochs=5", "--trainer.check_val_every_n_epoch=1", "--ckpt_path=last")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 10


@pytest.mark.slow
def test_a_learning_rate_of_zero_is_said_where_a_run_resumes(cli, caplog):
    """A schedule that has ended at 0 is part of the checkpoint, and more epochs change nothing."""
    schedule = ("--model.lr_scheduler=LinearLR", "--model.lr_scheduler.start_factor=1.0",
                "--model.lr_scheduler.end_factor=0.0", "--model.lr_scheduler.total_iters=2")  # fmt: skip
    run = ("fit", *SMALL, *TWO[1:], "--model.lr_scheduler_interval=step", *schedule)
    cli(*run, "--trainer.max_steps=2", "--ckpt_path=last")
    assert "holds no checkpoint yet: training starts from the beginning" in caplog.text
    assert "the learning rate of the checkpoint is 0" not in caplog.text
    cli(*run, "--trainer.max_steps=3", "--ckpt_path=last")
    assert "the learning rate of the checkpoint is 0, as its schedule has ended" in caplog.text


class OwnRate(CoordinateClassification):
    """Builds its optimiser from an argument with a name of its own."""

    def __init__(self, pace: float = 0.01, **arguments) -> None:
        super().__init__(**arguments)
        self.pace = pace

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.pace)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (("--model.pace=0.01",), ("--model.pace=0.5",), "the options of the checkpoint: lr is 0.01, and not 0.5"),
        (("--model.pace=0.01",), ("--model.pace=0.01",), None),
    ],
)
def test_an_option_that_the_optimiser_of_the_checkpoint_replaces_is_named(cli, caplog, first, second, said):
    run = ("fit", *SMALL, *TWO[1:], f"--model={__name__}.OwnRate")
    cli(*run, "--trainer.max_steps=1", *first)
    cli(*run, "--trainer.max_steps=2", "--ckpt_path=last", *second)
    assert (said in caplog.text) if said else ("the options of the checkpoint" not in caplog.text)
