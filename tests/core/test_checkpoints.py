"""Tests of reading checkpoints: tasks are restored, damaged and hostile files are refused, and no code in them runs."""

import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, load
from lightning_coordconv.core.checkpoints import (
    CheckpointError,
    DamagedCheckpointError,
    UntrustedCheckpointError,
    read_checkpoint,
    resolve_class,
    verify,
)
from lightning_coordconv.runtime.cli import main
from tests.core import hostile_checkpoints

CONFIG = Path(__file__).parents[2] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of two steps of training on the command line."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = ["--trainer.max_steps=2", "--trainer.enable_progress_bar=false", "--trainer.limit_val_batches=1",
                 "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=1", "--data.canvas=16",
                 "--data.size=3", "--model.net.init_args.canvas=16", "--model.net.init_args.mul=1"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lightning-coordconv"])
        patch.chdir(folder)
        main(["fit", "-c", str(CONFIG), *arguments])
    (path,) = folder.rglob("last.ckpt")
    return path


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().numpy().tobytes()


def same(first: object, second: object) -> bool:
    """Compare nested data with tensors."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and raw(first) == raw(second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (first != first and second != second)


@pytest.mark.slow
def test_a_checkpoint_of_the_command_line_becomes_its_task(trained):
    saved = torch.load(trained, weights_only=True)["state_dict"]
    for kind in (CoordinateClassification, CoordinateClassification.__mro__[2]):
        task = kind.load_from_checkpoint(trained)
        assert type(task) is CoordinateClassification
        assert isinstance(task.net, DeconvDecoder)
        assert same(dict(task.state_dict()), dict(saved))
        assert isinstance(task.configure_optimizers()["optimizer"], torch.optim.Adam)


@pytest.mark.slow
def test_a_task_that_was_loaded_and_saved_loads_again(trained, tmp_path):
    from pytorch_lightning import Trainer

    task = CoordinateClassification.load_from_checkpoint(trained)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    again = CoordinateClassification.load_from_checkpoint(tmp_path / "again.ckpt")
    assert same(dict(task.state_dict()), dict(again.state_dict()))


class HandsOn(CoordinateClassification):
    """Names only what is new, and hands the rest on to its base."""

    def __init__(self, extra: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.extra = extra


@pytest.mark.slow
def test_arguments_that_a_task_hands_on_to_its_base_are_restored(trained, tmp_path):
    checkpoint = torch.load(trained, weights_only=True)
    hyperparameters = checkpoint["hyper_parameters"]
    hyperparameters["optimizer"]["init_args"]["lr"] = 0.125
    hyperparameters |= {"_class_path": f"{__name__}.HandsOn", "extra": 3}
    torch.save(checkpoint, tmp_path / "handed.ckpt")
    task = CoordinateClassification.load_from_checkpoint(tmp_path / "handed.ckpt")
    assert type(task) is HandsOn
    assert task.extra == 3
    assert task.configure_optimizers()["optimizer"].defaults["lr"] == 0.125


@pytest.mark.slow
def test_no_flipped_bit_or_truncation_loads_other_numbers(trained):
    """Bytes without a meaning, such as padding, may change; what is loaded never does."""
    whole, expected = trained.read_bytes(), read_checkpoint(trained)
    draw = random.Random(0)
    with zipfile.ZipFile(trained) as archive:
        headers = [record.header_offset + draw.randrange(80) for record in archive.infolist()]
    anywhere = [draw.randrange(len(whole)) for _ in range(350)]
    end = [len(whole) - 1 - draw.randrange(4000) for _ in range(150)]
    refused = 0
    for offset in headers + anywhere + end:
        changed = bytearray(whole)
        changed[offset] ^= 1 << draw.randrange(8)
        refused += not loads_the_same(bytes(changed), expected)
    assert refused > 300
    for length in [0, 1, 4, 22, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(100))]:
        assert not loads_the_same(whole[:length], expected)


def loads_the_same(content: bytes, expected: dict) -> bool:
    try:
        loaded = read_checkpoint(io.BytesIO(content))
    except CheckpointError:
        return False
    assert same(loaded, expected)
    return True


@pytest.mark.slow
def test_no_hostile_hyperparameters_run_code(trained, tmp_path):
    """A separate process, whose audit hook records each import, compilation and command of the loading."""
    command = [sys.executable, hostile_checkpoints.__file__, str(trained)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment())
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = json.loads(result.stdout.splitlines()[-1])
    assert len(outcomes) >= 50
    for case, (outcome, events) in outcomes.items():
        assert outcome.startswith("UntrustedCheckpointError: "), (case, outcome)
        assert not events, (case, events)
    assert list(tmp_path.iterdir()) == [tmp_path / "hostile.ckpt"]


@pytest.mark.slow
def test_trust_builds_what_a_checkpoint_names_and_says_so(trained, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["hyper_parameters"]["optimizer"] = {"class_path": "tests.core.hostile_checkpoints.Innocent"}
    torch.save(checkpoint, "named.ckpt")
    with caplog.at_level("INFO"):
        task = CoordinateClassification.load_from_checkpoint("named.ckpt", trust=True)
    assert "trusting named.ckpt: it can run code as it is loaded" in caplog.text
    assert isinstance(task, CoordinateClassification)
    with pytest.raises(ValueError, match="add trust=True"):
        CoordinateClassification.load_from_checkpoint("named.ckpt", weights_only=False)


@pytest.mark.parametrize(
    ("name", "base", "message"),
    [
        ("os.system", nn.Module, "is not a subclass of torch.nn.modules.module.Module"),
        ("torch.os.system", nn.Module, "there is no such class"),
        ("torch.optim.Adam", nn.Module, "is not a subclass"),
        ("antigravity.Anything", nn.Module, "was not imported before"),
        ("lightning_coordconv.__main__.main", nn.Module, "no such class"),
        ("torch.utils.cpp_extension.BuildExtension", nn.Module, "no such class"),
        ("torch.nn.Nothing", nn.Module, "no such class"),
        ("ReLU", nn.Module, "not the dotted name"),
        ("torch.nn..ReLU", nn.Module, "not the dotted name"),
        (print, nn.Module, "is not a subclass"),
    ],
)
def test_only_subclasses_are_resolved(name, base, message):
    with pytest.raises(UntrustedCheckpointError, match=f"activation_fn names .*{message}"):
        resolve_class(name, base, "activation_fn")
    assert "antigravity" not in sys.modules


def test_classes_are_resolved_from_names_and_from_themselves():
    assert resolve_class("torch.nn.ReLU", nn.Module, "k") is nn.ReLU
    assert resolve_class(nn.Tanh, nn.Module, "k") is nn.Tanh
    assert resolve_class("lightning_coordconv.coordinates.DeconvDecoder", (nn.Module,), "k") is DeconvDecoder


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_regular_files_are_read(kind, tmp_path):
    path = tmp_path / "last.ckpt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"last.ckpt is not a regular file"):
        verify(path)


@pytest.mark.slow
def test_a_checkpoint_that_is_missing_names_the_newest_near_it(tmp_path):
    missing = tmp_path / "run" / "version_1" / "checkpoints" / "last.ckpt"
    with pytest.raises(FileNotFoundError, match=f"^no checkpoint at {missing}$"):
        load(missing)
    for age, version in enumerate(("a", "b", "c", "version_0")):
        file = tmp_path / "run" / version / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (age, age))
    others = ", ".join(
        str(missing.parents[2] / version / "checkpoints" / "last.ckpt") for version in ("version_0", "c", "b")
    )
    with pytest.raises(FileNotFoundError, match=f"^no checkpoint at {missing}; there are {others}$"):
        load(missing)


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_and_the_limit_can_be_raised(tmp_path, monkeypatch):
    path, content = tmp_path / "bomb.ckpt", io.BytesIO()
    torch.save({"state_dict": {"weight": torch.zeros(80_000_000)}}, content)
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    assert path.stat().st_size < 4_000_000
    with pytest.raises(CheckpointError, match=r"inflates to \d+, more than 268435456: set COORDCONV_MAX_CHECKP"):
        read_checkpoint(path)
    monkeypatch.setenv("COORDCONV_MAX_CHECKPOINT_BYTES", str(2**30))
    assert read_checkpoint(path)["state_dict"]["weight"].shape == (80_000_000,)


def test_records_of_one_name_are_refused(tmp_path):
    path, content = tmp_path / "two.ckpt", io.BytesIO()
    torch.save({"state_dict": {}}, content)
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(path, "w") as twice:
        for record in whole.infolist():
            twice.writestr(record.filename, whole.read(record))
            twice.writestr(record.filename.upper(), whole.read(record))
    with pytest.raises(DamagedCheckpointError, match="two of its records have the same name"):
        verify(path)


@pytest.mark.parametrize(
    "changed",
    [
        lambda content: content[:4] + content,
        lambda content: content[:-2] + b"\x01\x00.",
        lambda content: content[:-6] + bytes([content[-6] ^ 1]) + content[-5:],
        lambda content: content[-22:],
    ],
    ids=["moved", "comment", "position", "end only"],
)
def test_a_directory_that_torch_would_look_for_elsewhere_is_refused(changed):
    content = io.BytesIO()
    torch.save({"state_dict": {}}, content)
    verify(io.BytesIO(content.getvalue()))
    with pytest.raises(DamagedCheckpointError, match="damaged"):
        verify(io.BytesIO(changed(content.getvalue())))


def test_pickles_and_archives_of_code_are_refused(tmp_path):
    torch.save({"state_dict": Path("code")}, tmp_path / "object.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save([1], tmp_path / "list.ckpt")
    for name, message in (
        ("object", "tensors and plain data only"),
        ("legacy", "written by torch before version 1.6"),
        ("list", "no state_dict"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / f"{name}.ckpt")


@pytest.mark.parametrize("limit", ["many", "-1", "1e9", ""])
def test_a_limit_that_is_no_number_is_named(tmp_path, monkeypatch, limit):
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    monkeypatch.setenv("COORDCONV_MAX_CHECKPOINT_BYTES", limit)
    with pytest.raises(CheckpointError, match="COORDCONV_MAX_CHECKPOINT_BYTES must be a whole number, got"):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("source", [None, 3, ["last.ckpt"]])
def test_what_is_no_path_is_refused_by_its_value(source):
    for read in (read_checkpoint, CoordinateClassification.load_from_checkpoint, load):
        with pytest.raises(CheckpointError, match=rf"a checkpoint must be a path, .* got {re.escape(repr(source))}"):
            read(source)


@pytest.mark.slow
def test_an_argument_that_a_task_does_not_have_is_named(trained):
    for read in (CoordinateClassification.load_from_checkpoint, load):
        with pytest.raises(CheckpointError, match="CoordinateClassification has no argument 'nett'; it has net, "):
            read(trained, nett=torch.nn.Identity())
