"""Tests of ``export --int8``: integer weights, float coordinates, measured accuracies, and what is refused."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from lightning_coordconv import CoordConv2d
from lightning_coordconv.classification import ImageClassification, PlacedDigitsDataModule, PooledClassifier, load
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.export import Exportable
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.runtime.export import read_data
from lightning_coordconv.segmentation import MaskFolderDataModule, SemanticSegmentation
from lightning_coordconv.segmentation import load as load_segmenter
from tests.classification.test_task import quiet
from tests.runtime.exports import assert_refused, run

pytestmark = pytest.mark.slow

DIGITS = {"labels": "position", "copies": 1, "batch_size": 50, "eval_batch_size": 250}


def config(path: Path, kind: str, **arguments) -> str:
    """Write a config with nothing but data."""
    path.write_text(yaml.safe_dump({"seed_everything": 0, "data": {"class_path": kind, "init_args": arguments}}))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of positions, ``last.ckpt``, and the config of its data."""
    folder = tmp_path_factory.mktemp("int8")
    torch.manual_seed(0)
    task = ImageClassification(
        PooledClassifier(4, coordinates=True), optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01)
    )
    trainer = quiet(folder, max_epochs=4, limit_val_batches=0)
    trainer.fit(task, PlacedDigitsDataModule(**DIGITS))
    trainer.save_checkpoint(folder / "last.ckpt")
    config(folder / "config.yaml", "lightning_coordconv.classification.PlacedDigitsDataModule", **DIGITS)
    return folder


def test_a_config_of_data_is_read_as_fit_reads_it(tmp_path):
    """Plain YAML would take the name of the folder for a date."""
    path = tmp_path / "data.yaml"
    kind = "lightning_coordconv.classification.ImageFolderDataModule"
    path.write_text(f"data: {{class_path: {kind}, init_args: {{root: 2024-01-01}}}}")
    with pytest.raises(ValueError, match="there is no folder 2024-01-01/train"):
        read_data(str(path))


def accuracies(printed: str, metric: str) -> tuple[float, float]:
    """Return what is printed for float32 and INT8, and show that the difference is theirs."""
    float32, int8, difference = map(float, re.search(rf"{metric} +(\S+) +(\S+) +(\S+)", printed).groups())
    assert difference == pytest.approx(int8 - float32, abs=2e-4)
    return float32, int8


@pytest.mark.parametrize(
    ("name", "size"),
    [("a.pt2", []), ("a.onnx", []), ("folded.pt2", ["--size", "64", "64"])],
    ids=lambda value: str(value),
)
def test_a_classifier_of_positions_keeps_its_accuracy(folder, tmp_path, capsys, name, size):
    pytest.importorskip("torchao.quantization.pt2e")
    out = tmp_path / name
    main(["export", str(folder / "last.ckpt"), str(out), "--int8", str(folder / "config.yaml"), *size])
    float32, int8 = accuracies(capsys.readouterr().out, "val/top1")
    data = PlacedDigitsDataModule(**DIGITS)
    model = load(folder / "last.ckpt", device="cpu")
    (result,) = quiet(tmp_path).validate(model.task, data, verbose=False)
    assert float32 == pytest.approx(result["val/top1"], abs=1e-4)
    right = [run(out, batch["image"])[0].argmax(1) == batch["label"] for batch in data.val_dataloader()]
    assert int8 == pytest.approx(torch.cat(right).double().mean().item(), abs=1e-4)
    assert int8 > 0.9
    assert int8 > float32 - 0.02
    if name.endswith(".pt2"):
        state = torch.export.load(out).state_dict
        assert sum(value.numel() for value in state.values() if value.dtype == torch.int8) == 144 + 4608 + 18432 + 256
        assert not [
            key for key, value in state.items() if value.is_floating_point() and value.numel() > 1000 and not size
        ]


class Radial(nn.Sequential):
    """Convolves the coordinate grid, since it has a radius."""

    def __init__(self) -> None:
        super().__init__(CoordConv2d(3, 4, 3, with_r=True), nn.ReLU(), nn.Conv2d(4, 4, 1))
        nn.init.normal_(self[0].coord_weight)


def test_coordinates_are_not_quantised_and_the_network_is_left_as_it_is():
    pytest.importorskip("torchao.quantization.pt2e")
    from lightning_coordconv.core.quantiser import quantise

    net = Radial().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    axes = {0: "batch", 2: "height", 3: "width"}
    images = torch.rand(2, 3, 24, 40)
    wide = torch.rand(1, 3, 30, 2000)  # 256 levels could not tell its columns apart
    quantised = quantise(Exportable(net, ((images,),), ("image",), ("out",), axes), [images, wide])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    convolutions = [node for node in quantised.module.graph.nodes if node.target == torch.ops.aten.conv2d.default]
    integer = ["dequantize" in str(node.args[0].target) for node in convolutions]
    assert sorted(integer) == [False, True, True]  # that of the grid, and the two of the image
    torch.testing.assert_close(quantised.module(wide), net(wide), rtol=0, atol=0.05 * net(wide).abs().max().item())


@remember_arguments
class Small(nn.Sequential):
    """Sees a pixel, its neighbours, and where it is."""

    def __init__(self, width: int) -> None:
        super().__init__(CoordConv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 1))


def test_a_segmenter_is_measured_without_padding_on_the_split_of_its_run(masks, tmp_path, capsys):
    pytest.importorskip("torchao.quantization.pt2e")
    torch.manual_seed(0)
    arguments = {"root": str(masks), "num_classes": 3, "batch_size": 2, "num_workers": 0}
    data = MaskFolderDataModule(**arguments, seed=3)
    task = SemanticSegmentation(Small(16), 3, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.05))
    trainer = quiet(tmp_path, max_epochs=2, limit_val_batches=0)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    kind = "lightning_coordconv.segmentation.MaskFolderDataModule"
    path = config(tmp_path / "data.yaml", kind, **arguments, eval_batch_size=2)  # with another seed
    main(["export", str(tmp_path / "last.ckpt"), str(tmp_path / "a.pt2"), "--int8", path])
    printed = capsys.readouterr().out
    (result,) = quiet(tmp_path).validate(load_segmenter(tmp_path / "last.ckpt").task, data, verbose=False)
    for metric in ("miou", "accuracy"):
        float32, int8 = accuracies(printed, f"val/{metric}")
        assert float32 == pytest.approx(result[f"val/{metric}"], abs=2e-4)
        assert abs(int8 - float32) < 0.05
    assert_refused(
        capsys, [tmp_path / "last.ckpt", tmp_path / "b.pt2", "--int8", path, "--size", "16", "16"],
        "the data have an image of .* pixels, but the file is made for 16 x 16",
    )  # fmt: skip


def test_other_tasks_are_refused(folder, tmp_path, capsys):
    path = folder / "config.yaml"
    assert_refused(
        capsys, ["painter", tmp_path / "a.pt2", "--int8", path], "is not exported in INT8: image classification"
    )


def test_data_of_another_task_are_refused(folder, masks, tmp_path, capsys):
    kind = "lightning_coordconv.segmentation.MaskFolderDataModule"
    path = config(tmp_path / "masks.yaml", kind, root=str(masks), num_classes=3)
    message = r"ImageClassification reads \['label'\], which the samples of MaskFolderDataModule do not have: they have"
    assert_refused(capsys, [folder / "last.ckpt", tmp_path / "a.pt2", "--int8", path], message)


@pytest.mark.parametrize(
    ("text", "message"),
    [("trainer: {}", "the following arguments are required: data"), ("data: {class_path: no.Such}", "data: .*no")],
)
def test_a_config_without_data_is_refused(folder, tmp_path, capsys, text, message):
    (tmp_path / "other.yaml").write_text(text)
    assert_refused(capsys, [folder / "last.ckpt", tmp_path / "a.pt2", "--int8", tmp_path / "other.yaml"], message)


def test_without_torchao_the_extra_is_named(folder, tmp_path, capsys, monkeypatch):
    for module in ("torchao", "lightning_coordconv.core.quantiser"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for module in [name for name in sys.modules if name.startswith("torchao")] or ["torchao"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "torchao", None)
    assert_refused(
        capsys, [folder / "last.ckpt", tmp_path / "a.pt2", "--int8", folder / "config.yaml"],
        r"INT8 exports need torchao: pip install 'lightning-coordconv\[int8\]'",
    )  # fmt: skip
