"""Tests of the segmentation metrics mean IoU and pixel accuracy, and of the confusion matrix and its figure."""

import pytest
import torch
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from lightning_coordconv.core.confusion import draw_confusion
from lightning_coordconv.segmentation import (
    MaskFolderDataModule,
    MeanIoU,
    PixelAccuracy,
    SegmentationFigures,
    SemanticSegmentation,
    figures,
)
from lightning_coordconv.segmentation.metrics import ConfusionMatrix
from tests.classification.test_task import quiet
from tests.segmentation.masks import write_masks
from tests.slow import slow_except


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(4, (3, 8, 9), generator=generator)
    preds = torch.where(torch.rand(3, 8, 9, generator=generator) < 0.6, target, (target + 1) % 4)
    target[0, :2] = 255
    return preds, target


class TestMetrics:
    def test_the_matrix_is_that_of_torchmetrics(self, maps):
        ours, theirs = ConfusionMatrix(4), MulticlassConfusionMatrix(4, ignore_index=255)
        assert torch.equal(ours(*maps), theirs(*maps))

    @pytest.mark.parametrize("metric", [MeanIoU, ConfusionMatrix])
    @pytest.mark.parametrize("label", [-2, 4, 5, 16, 17])
    @pytest.mark.parametrize("which", [0, 1])
    def test_what_is_no_class_is_not_counted_as_another(self, maps, metric, label, which):
        maps[which][1, 2, 3] = label
        with pytest.raises(RuntimeError, match="out of bounds"):
            metric(4).update(*maps)

    @pytest.mark.slow
    def test_two_ranks_draw_the_matrix_of_one(self, tmp_path):
        (tmp_path / "data").mkdir()
        root = str(write_masks(tmp_path / "data", copies=10))  # of which three are for the test
        for ranks in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
            seed_everything(0)
            task = SemanticSegmentation(nn.Conv2d(3, 3, 1), 3)
            logger = CSVLogger(tmp_path, "", str(ranks["devices"]))
            trainer = quiet(tmp_path, logger=logger, callbacks=[SegmentationFigures(1)], **ranks)
            trainer.test(task, MaskFolderDataModule(root, 3, num_workers=0), verbose=False)
        drawn = [(tmp_path / devices / "figures" / "confusion_test.png").read_bytes() for devices in "12"]
        assert drawn[0] == drawn[1]

    @pytest.mark.slow
    @pytest.mark.parametrize("names", slow_except([["of", "the", "data"]], [["of", "the", "data"], None]))
    def test_the_matrix_has_the_names_of_the_data_or_else_of_the_task(self, tmp_path, monkeypatch, names):
        (tmp_path / "data").mkdir()
        root, drawn = str(write_masks(tmp_path / "data", copies=3)), []
        monkeypatch.setattr(figures, "draw_confusion", lambda *given: drawn.append(given) or draw_confusion(*given))
        data = MaskFolderDataModule(root, 3, num_workers=0, class_names=names)
        trainer = quiet(tmp_path, logger=CSVLogger(tmp_path), callbacks=[SegmentationFigures(1)])
        task = SemanticSegmentation(nn.Conv2d(3, 3, 1), 3, class_names=["of", "a", "task"])
        trainer.test(task, data, verbose=False)
        assert drawn[0][1] == (names or task.class_names)

    def test_mean_iou_is_that_of_torchmetrics(self, maps):
        ours, theirs = MeanIoU(4), MulticlassJaccardIndex(4, ignore_index=255)
        for preds, target in zip(*(part.split(1) for part in maps), strict=True):
            ours.update(preds, target)
            theirs.update(preds, target)
        torch.testing.assert_close(ours.compute(), theirs.compute())

    def test_ranks_are_summed(self, maps):
        both, first, second = MeanIoU(4), MeanIoU(4), MeanIoU(4)
        both.update(*maps)
        first.update(*(part[:1] for part in maps))
        second.update(*(part[1:] for part in maps))
        for state, expected in both.metric_state.items():
            assert torch.equal(first.metric_state[state] + second.metric_state[state], expected)

    def test_a_class_that_does_not_occur_does_not_count(self):
        metric = MeanIoU(3)
        metric.update(torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 2, 2, dtype=torch.long))
        assert metric.compute() == 1
        assert metric.per_class().isnan().tolist() == [False, True, True]

    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
    def test_nothing_is_not_perfect(self):
        assert MeanIoU(2).compute().isnan()
        assert PixelAccuracy().compute().isnan()

    @pytest.mark.parametrize(("ignored", "predicted"), [(255, 1), (2, 2), (-1, -1)])
    def test_ignored_pixels_do_not_count(self, ignored, predicted):
        """Also where the ignored value is a class, which data of other modules may have, or that of no prediction."""
        metric = PixelAccuracy(ignored)
        metric.update(torch.tensor([[[0, 1, predicted]]]), torch.tensor([[[0, 0, ignored]]]))
        assert metric.compute() == 0.5


@pytest.mark.parametrize(
    "metric", [MeanIoU(2), PixelAccuracy(), ConfusionMatrix(2)], ids=lambda each: type(each).__name__
)
def test_masks_with_a_channel_are_not_compared_with_the_predictions_of_all_images(metric):
    preds = torch.tensor([0, 1]).view(2, 1, 1).expand(2, 4, 4)
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 4, 4\) and \(2, 1, 4, 4\)"):
        metric.update(preds, preds[:, None])
