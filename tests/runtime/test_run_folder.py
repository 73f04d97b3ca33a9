"""Tests of the callback that guards a fit's folder: emptiness, a hint at Ctrl-C, and checkpoint paths after a move."""

from types import SimpleNamespace

import pytest
import torch

from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint
from lightning_coordconv.runtime.callbacks.run_folder import RunFolder, keep_to_folders


@pytest.mark.parametrize(
    ("files", "ckpt_path", "message"),
    [
        ([], "last", None),
        (["last.ckpt", "epoch=0.ckpt"], "last", None),
        (["epoch=0.ckpt"], "last", r"holds no last.ckpt to resume from: give --ckpt_path one of epoch=0.ckpt"),
        (["epoch=0.ckpt"], None, "holds the checkpoints of another run"),
        (["epoch=0.ckpt"], "checkpoints/epoch=0.ckpt", None),
    ],
)
def test_a_fit_starts_anew_only_in_an_empty_folder(files, ckpt_path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in files:
        (tmp_path / "checkpoints" / name).touch()
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = SimpleNamespace(log_dir=str(tmp_path), is_global_zero=True, strategy=strategy)
    folder = RunFolder(ckpt_path)
    if message is None:
        folder.setup(trainer, None, "fit")
    else:
        with pytest.raises(FileExistsError, match=message):
            folder.setup(trainer, None, "fit")
    folder.teardown(trainer, None, "fit")


@pytest.mark.parametrize("there", [True, False])
def test_a_run_says_its_folder_and_after_ctrl_c_how_to_continue(there, tmp_path, caplog):
    folder = RunFolder()
    strategy = SimpleNamespace(broadcast=lambda value: value)
    with caplog.at_level("INFO"):
        folder.setup(SimpleNamespace(log_dir=str(tmp_path), is_global_zero=True, strategy=strategy), None, "fit")
    last = tmp_path / "checkpoints" / "last.ckpt"
    if there:
        last.parent.mkdir()
        last.touch()
    with caplog.at_level("INFO"):
        folder.on_exception(None, None, KeyboardInterrupt())
    expected = f"--ckpt_path {last} continues this run" if there else "there is no checkpoint yet"
    assert caplog.messages == [f"this run writes to {tmp_path}", f"interrupted: {expected}"]


@pytest.mark.parametrize(("present", "command"), [(True, "fit"), (False, "fit"), (False, "predict")])
def test_a_run_whose_folder_was_moved_remembers_its_best_checkpoint(present, command, tmp_path, caplog):
    """Where the file did not come along, a fit says so."""
    before = BestCheckpoint(dirpath=tmp_path / "old", monitor="val/a")
    path = str(tmp_path / "old" / "epoch=1.ckpt")
    before.best_model_path = before.kth_best_model_path = path
    before.best_k_models, before.best_model_score = {path: torch.tensor(0.5)}, torch.tensor(0.5)
    after = BestCheckpoint(dirpath=tmp_path / "new", monitor="val/a")
    (tmp_path / "new").mkdir()
    if present:
        (tmp_path / "new" / "epoch=1.ckpt").touch()
    checkpoint = {"callbacks": {before.state_key: before.state_dict()}}
    with caplog.at_level("INFO"):
        keep_to_folders(SimpleNamespace(checkpoint_callbacks=[after], state=SimpleNamespace(fn=command)), checkpoint)
    if not present:
        assert checkpoint == {"callbacks": {}}
        assert ("lacks the best checkpoint by val/a so far" in caplog.text) == (command == "fit")
        return
    after.load_state_dict(checkpoint["callbacks"][after.state_key])
    here = str(tmp_path / "new" / "epoch=1.ckpt")
    assert (after.best_model_path, after.kth_best_model_path, after.best_k_models) == (here, here, {here: 0.5})
    assert after.best_model_score == 0.5
