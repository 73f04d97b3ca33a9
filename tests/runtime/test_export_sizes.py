"""Tests that an ONNX file for inputs of any size is right at each size that the network takes, or is not written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv import CoordConv2d
from lightning_coordconv.classification import (
    ClassificationPredictor,
    ImageClassification,
    PlacedDigitsDataModule,
    ResNetClassifier,
)
from lightning_coordconv.core.export import Exportable, ExportError, check_sizes, export, to_program
from lightning_coordconv.segmentation import SemanticSegmentation, load
from tests.runtime.exports import run, save

AXES = {0: "batch", 2: "height", 3: "width"}


class Branches(nn.Module):
    """Convolves after a step that depends on the size of the images."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.conv = CoordConv2d(3, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(self.step(image))


def pads(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % 8, 0, -height % 8)) if height % 8 or width % 8 else image


def shrinks(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 2) if max(image.shape[-2:]) > 256 else image


def shrinks_areas(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 2) if image.shape[-2] * image.shape[-1] > 10**6 else image


def turns_squares(image: Tensor) -> Tensor:
    return image.mT if image.shape[-2] == image.shape[-1] else image


def halves_batches(image: Tensor) -> Tensor:
    return image / 2 if image.shape[0] > 8 else image


def joins(image: Tensor) -> Tensor:
    """Take images of even sizes only: others raise."""
    return image + F.interpolate(F.avg_pool2d(image, 2), scale_factor=2)


def halves(image: Tensor) -> Tensor:
    """Take what the exporter puts under conditions that hold for each length but 1."""
    return image[..., ::2, ::2].expand(image.shape[0], -1, -1, -1)


def exportable(net: nn.Module, channels: int = 3) -> Exportable:
    torch.manual_seed(0)
    return Exportable(net.eval(), ((torch.rand(2, channels, 64, 96),),), ("image",), ("out",), AXES)


@pytest.mark.parametrize(
    ("step", "condition"),
    [
        (pads, "height % 8 == 0"),
        (shrinks, r"max\(.*\) <= 256"),
        (shrinks_areas, "1000000"),
        (turns_squares, "(width|height) != (width|height)"),
        (halves_batches, "batch <= 8"),
    ],
)
@torch.no_grad()
def test_a_condition_on_sizes_that_changes_outputs_is_named(step, condition):
    network = exportable(Branches(step))
    with pytest.raises(ExportError, match=f"only where .*{condition}.*: give the size .*or export .* to .pt2"):
        check_sizes(network, to_program(network))


@pytest.mark.parametrize(
    "net",
    [Branches(joins), Branches(halves), Branches(nn.Identity()), ResNetClassifier("resnet18", 4, coordinates=True)],
    ids=["even sizes only", "halves", "none", "resnet18"],
)
@torch.no_grad()
def test_conditions_that_change_no_output_are_no_obstacle(net):
    network = exportable(net)
    check_sizes(network, to_program(network))


@pytest.mark.slow
@torch.no_grad()
def test_a_file_for_any_size_is_right_at_odd_and_large_sizes(tmp_path):
    network = exportable(Branches(halves))
    export(network, tmp_path / "a.onnx", "onnx")
    for shape in ((1, 3, 1, 1), (2, 3, 33, 400), (1, 3, 513, 127)):
        image = torch.rand(shape)
        torch.testing.assert_close(run(tmp_path / "a.onnx", image)[0], network.module(image), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_network_that_branches_on_sizes_is_exported_at_one_size_or_to_pt2(tmp_path, capsys):
    torch.manual_seed(0)
    path = save(SemanticSegmentation(Branches(shrinks), 2), tmp_path / "a.ckpt")
    model = load(path, device="cpu", net=Branches(shrinks))
    with pytest.raises(ExportError, match="<= 256"):
        model.export(tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
    model.export(tmp_path / "a.onnx", size=(300, 64))
    model.export(tmp_path / "a.pt2")
    with pytest.raises(AssertionError, match="Guard failed"):
        run(tmp_path / "a.pt2", torch.rand(1, 3, 300, 64))


@pytest.mark.slow
def test_an_int8_file_of_a_network_that_branches_on_sizes_is_refused(tmp_path):
    """The quantised network itself refuses other sizes, and could not be compared at them."""
    pytest.importorskip("torchao.quantization.pt2e")

    class Classifier(Branches):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image.expand(-1, 3, -1, -1)).amax((2, 3))

    model = ClassificationPredictor(ImageClassification(Classifier(shrinks)), "cpu")
    with pytest.raises(ExportError, match="<= 256"):
        model.export_int8(tmp_path / "a.onnx", PlacedDigitsDataModule("position", copies=1))
