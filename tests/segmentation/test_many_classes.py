"""Tests of masks with up to 65,536 classes: predicted labels, files, metrics, figures, data check, and training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex

from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.segmentation import (
    MaskFolderDataModule,
    MeanIoU,
    SegmentationFigures,
    SegmentationPredictor,
    SemanticSegmentation,
    predict_tiles,
)
from lightning_coordconv.segmentation.drawing import draw_masks
from lightning_coordconv.segmentation.mask_files import read_mask
from lightning_coordconv.segmentation.mask_writer import save_mask
from tests.classification.test_task import quiet


@pytest.mark.parametrize("classes", [256, 257, 32_768, 32_769, 40_001, 65_536])
class TestPredictions:
    def labels(self, classes: int) -> torch.Tensor:
        torch.manual_seed(0)
        labels = torch.randint(classes, (6, 9))
        labels[0, 0], labels[1, 1] = classes - 1, 0
        return labels

    def net(self, classes: int) -> nn.Module:
        """Class k has the highest logit where the first channel is k: its logit is 2 k x - k², in float64."""
        net = nn.Conv2d(1, classes, 1).double()
        numbers = torch.arange(classes).double()
        net.weight.data, net.bias.data = 2 * numbers[:, None, None, None], -numbers.square()
        return net.requires_grad_(False)

    def test_label_maps_hold_each_class(self, classes):
        labels = self.labels(classes)
        found = predict_tiles(self.net(classes), labels[None].double(), 4, 1)
        assert torch.equal(found.long(), labels)
        assert found.dtype == {256: torch.uint8, 257: torch.int16, 32_768: torch.int16}.get(classes, torch.int32)

    def test_masks_are_written_and_read(self, classes, tmp_path: Path):
        labels = self.labels(classes)
        save_mask(predict_tiles(self.net(classes), labels[None].double(), 9, 0), tmp_path / "mask.png")
        assert torch.equal(read_mask(tmp_path / "mask.png", classes, -1), labels)

    def test_results_name_and_draw_each_class(self, classes):
        class Given(SemanticSegmentation):
            def describe_data(self):
                names = [f"class {number}" for number in range(classes)]
                return {"class_names": names, "preprocessing": Preprocessing().to_dict()}

        net = nn.Conv2d(3, classes, 1)
        net.weight.data.zero_()
        net.bias.data.zero_()
        net.bias.data[-1] = 1
        found = SegmentationPredictor(Given(net, classes, ignore_index=-1), "cpu").predict(torch.rand(3, 4, 5))
        assert found.shares == {f"class {classes - 1}": 1.0}
        (legend,) = found.draw().legends
        assert [text.get_text() for text in legend.get_texts()] == [f"class {classes - 1}"]


def test_classes_beyond_16_bits_are_refused_in_a_file(tmp_path):
    with pytest.raises(ValueError, match="its classes must be from 0 to 65535, got 65536"):
        save_mask(torch.full((2, 2), 65_536, dtype=torch.int32), tmp_path / "mask.png")


def test_mean_iou_counts_each_class_without_a_matrix_of_pairs():
    """The counts of all pairs of 65,536 classes would need 34 GB."""
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0, 255, 32_767, 32_768, 40_000, 65_535])[torch.randint(6, (2, 8, 9), generator=generator)]
    preds = torch.where(torch.rand(2, 8, 9, generator=generator) < 0.7, target, 65_535 - target)
    metric = MeanIoU(65_536, ignore_index=-1)
    metric.update(preds, target)
    classes, (first, second) = torch.cat([preds, target]).unique(return_inverse=True)[0], (preds, target)
    small = {int(label): number for number, label in enumerate(classes)}
    mapped = [torch.tensor([small[label] for label in part.flatten().tolist()]) for part in (first, second)]
    expected = MulticlassJaccardIndex(len(classes), average="none")(*mapped)
    torch.testing.assert_close(metric.per_class()[classes], expected)
    assert bool(metric.per_class()[1].isnan())
    assert sum(state.numel() for state in metric.metric_state.values()) < 10 * 65_536


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of 12 x 10 pixels, whose masks have the labels 3, 255, 40,000 and 65,535."""
    mask = np.array([3, 255, 40_000, 65_535], np.uint16).repeat(30).reshape(10, 12)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (12, 10), (200, number, 0)).save(tmp_path / "data" / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(tmp_path / "data" / split / "masks" / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.slow
def test_data_check_counts_and_draws_them_and_its_options_are_valid(folder, capsys, tmp_path):
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(folder), "--out", str(tmp_path / "samples.png")])
    report = capsys.readouterr().out
    assert exited.value.code == 0
    for label in ("3", "40000", "65535"):
        assert f"\n{label} " in report
    assert (tmp_path / "samples.png").is_file()
    assert "255 is a class like the others" in report
    (options,) = (line.split("fit ")[1].split() for line in report.splitlines() if line.startswith("train with"))
    given = dict(zip(options[::2], options[1::2], strict=True))
    data = MaskFolderDataModule(
        str(folder), int(given["--data.num_classes"]), ignore_index=int(given["--data.ignore_index"])
    )
    assert data.num_classes == 65_536
    assert data.dataset("train")[0]["mask"].unique().tolist() == [3, 255, 40_000, 65_535]


@pytest.mark.slow
def test_a_network_of_so_many_classes_is_trained_and_tested(folder, tmp_path, caplog):
    torch.manual_seed(0)
    data = MaskFolderDataModule(str(folder), 65_536, ignore_index=-1, num_workers=0)
    task = SemanticSegmentation(nn.Conv2d(3, 65_536, 1), 65_536, ignore_index=-1)
    task.log = lambda name, *values, **options: None  # 65,536 columns are not what is tested
    trainer = quiet(tmp_path, max_epochs=1, callbacks=[SegmentationFigures(1)])
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    assert bool(task.test_metrics["miou"].compute().isfinite())
    assert "No confusion matrix is drawn: 65536 classes are more than 1000" in caplog.text


def test_a_picture_shows_them(folder):
    sample = MaskFolderDataModule(str(folder), 65_536, ignore_index=-1).dataset("train")[0]
    figure = draw_masks(sample, [str(number) for number in range(65_536)], -1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["3", "255", "40000", "65535"]
