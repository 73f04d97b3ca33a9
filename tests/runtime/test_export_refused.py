"""Tests that ``export`` refuses wrong arguments, full disks and networks it would change, and touches no other file."""

import os
import shutil

import pytest
import torch
from torch import nn

from lightning_coordconv.core.export import Exportable, ExportError, export
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.detection import Detector, ObjectDetection
from lightning_coordconv.runtime.cli import main
from tests.detection.test_torchvision_detectors import MOBILE, SMALL
from tests.full_disk import full_disk
from tests.runtime.exports import assert_refused, save, shaken


@pytest.mark.slow
def test_a_detector_that_finds_nothing_is_not_exported_unchecked(tmp_path, capsys):
    net = shaken(Detector(MOBILE, 3, "none", options=SMALL | {"box_score_thresh": 1.0}))
    path = save(ObjectDetection(net), tmp_path / "a.ckpt")
    assert_refused(
        capsys, [path, tmp_path / "a.onnx", "--size", "64", "64"], "nothing was compared.*--images.*train it longer"
    )


def test_wrong_files_and_arguments_end_with_one_line(classifier, tmp_path, capsys):
    (tmp_path / "text.ckpt").write_text("x")
    (tmp_path / "file").write_text("x")
    for arguments, message in [
        ([tmp_path / "absent.ckpt", tmp_path / "a.onnx"], "no checkpoint at .*absent.ckpt"),
        ([tmp_path / "text.ckpt", tmp_path / "a.onnx"], "text.ckpt is damaged"),
        ([classifier, tmp_path / "model.xyz"], r"has none of the suffixes .onnx, .pt2, .zip"),
        ([classifier, tmp_path / "model.pt2", "--format", "onnx"], "has the suffix of the format torch, but --format"),
        ([classifier, tmp_path / "model.zip"], "is exported as onnx or torch, and not as sb3"),
        ([classifier, tmp_path / "a.onnx", "--size", "0", "4"], "height must be at least 1, got 0"),
        ([classifier, tmp_path / "file" / "a.onnx"], "a.onnx cannot be written"),
        ([classifier, tmp_path / "a.onnx", "--images", tmp_path / "none"], "there is no file or folder"),
        ([classifier], "the following arguments are required: out"),
    ]:
        assert_refused(capsys, arguments, message)


@pytest.mark.parametrize("option", ["checkpoint", "--images", "--int8"])
def test_what_is_read_is_not_written_over(classifier, tmp_path, capsys, option):
    file = shutil.copyfile(classifier, tmp_path / "a.ckpt")
    arguments = [file, file, "--format", "onnx"] if option == "checkpoint" else [classifier, file, option, file]
    before = file.read_bytes()
    with pytest.raises(SystemExit):
        main(["export", *map(str, arguments)])
    assert capsys.readouterr().err == (
        f"error: {file} is read by this command, and would be replaced: give another file to write\n"
    )
    assert file.read_bytes() == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(classifier, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(capsys, [classifier, tmp_path / "locked" / "a.onnx"], "a.onnx cannot be written: .*Permission")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.pt2", "a.onnx"])
def test_a_full_disk_is_named(tmp_path, capsys, name):
    with full_disk(1000):
        assert_refused(capsys, ["regressor", tmp_path / name], f"{name} cannot be written: .*File too large")
    assert not list(tmp_path.iterdir())


class OwnTask(BaseTask):
    """A task that belongs to no domain of the package."""


def test_a_task_without_trained_model_in_python_is_named(tmp_path, capsys):
    path = save(OwnTask(), tmp_path / "a.ckpt")
    assert_refused(capsys, [path, tmp_path / "a.onnx"], "checkpoint of OwnTask, which this command")


def test_an_unknown_name_of_weights_is_refused_with_the_known_ones(tmp_path, capsys):
    assert_refused(capsys, ["pianter", tmp_path / "a.onnx"], "no checkpoint at pianter, .* painter, ")


class Random(nn.Module):
    """Computes something else each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(())


class FixedSize(nn.Module):
    """Keeps the size that it saw when it was exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.linspace(0, 1, int(x.shape[-1]))


@pytest.mark.parametrize(
    ("format", "suffix"), [pytest.param("onnx", ".onnx", marks=pytest.mark.slow), ("torch", ".pt2")]
)
@pytest.mark.parametrize(
    ("net", "message"), [(Random(), "'y' of the exported network differs from the network's for an input of 2 x 3: by")]
)
def test_a_file_that_computes_something_else_is_not_written(tmp_path, net, message, format, suffix):
    out = tmp_path / f"a{suffix}"
    out.write_text("an earlier file")
    examples = ((torch.rand(2, 3),),)
    with pytest.raises(ExportError, match=message):
        export(Exportable(net.eval(), examples, ("x",), ("y",)), out, format)
    assert out.read_text() == "an earlier file"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_the_option_that_trusts_a_checkpoint_is_named(classifier, tmp_path, capsys):
    checkpoint = torch.load(classifier, weights_only=True)
    checkpoint["inference"]["task"] = "not_imported.Task"
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "foreign.ckpt"), str(tmp_path / "model.onnx")])
    message = capsys.readouterr().err
    assert "'not_imported.Task', whose module was not imported before" in message
    assert "--trust loads it all the same" in message


def test_a_size_that_the_exporter_would_fix_is_refused(tmp_path):
    example = ((torch.rand(2, 3),), (torch.rand(2, 5),))
    with pytest.raises(ExportError, match="the exporter cannot export this network"):
        export(Exportable(FixedSize().eval(), example, ("x",), ("y",), {1: "width"}), tmp_path / "a.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_other_file_is_touched(tmp_path):
    """Files beside the export whose names a program could use for its own purposes stay as they are."""
    others = [tmp_path / name for name in ("a.part.pt2", "a.pt2.part", "a.tmp", "a.pt2.tmp")]
    for path in others:
        path.write_text("mine")
    main(["export", "painter", str(tmp_path / "a.pt2")])
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.pt2"])
    assert {path.read_text() for path in others} == {"mine"}
