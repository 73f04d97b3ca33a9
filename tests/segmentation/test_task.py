"""Tests of the semantic segmentation task: crops, padding, ignored pixels, command line, learning, wrong arguments."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from lightning_coordconv import CoordConv2d
from lightning_coordconv.segmentation import (
    MaskFolderDataModule,
    MeanIoU,
    SemanticSegmentation,
)
from tests.device_reads import device_reads
from tests.segmentation.test_tiles import pointwise_network


def batch(size=(32, 32)):
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(3, (2, *size), generator=generator)
    mask[0, :4] = 255
    image = torch.rand(2, 3, *size, generator=generator)
    return {"image": image, "mask": mask, "origin": [(0, 0)] * 2, "size": [size] * 2, "path": ["a.png", "b.png"]}


class TestTask:
    def test_a_batch_is_its_samples(self):
        task = SemanticSegmentation(pointwise_network(), 3).eval()
        with torch.no_grad():
            together = task.evaluate(batch())
            alone = [task.evaluate({key: value[n : n + 1] for key, value in batch().items()}) for n in range(2)]
        assert torch.equal(together["preds"], torch.cat([outputs["preds"] for outputs in alone]))
        counts = torch.tensor([28.0 * 32, 32.0 * 32])
        mean = (torch.stack([outputs["loss"] for outputs in alone]) * counts).sum() / counts.sum()
        torch.testing.assert_close(together["loss"], mean)

    def test_padding_changes_a_prediction_only_next_to_it(self):
        task = SemanticSegmentation(pointwise_network(), 3).eval()
        given = batch((32, 32))
        padded = given | {
            "image": nn.functional.pad(given["image"], (0, 32, 0, 32)),
            "mask": nn.functional.pad(given["mask"], (0, 32, 0, 32), value=255),
        }
        with torch.no_grad():
            alone, wide = task.evaluate(given), task.evaluate(padded)
        assert torch.equal(wide["preds"][:, :30, :30], alone["preds"][:, :30, :30])  # the field reaches 2 pixels

    def test_crops_see_their_place(self):
        task = SemanticSegmentation(pointwise_network(), 3).eval()
        given = batch((32, 32))
        cropped = given | {"image": given["image"][:, :, 8:24, 4:28], "mask": given["mask"][:, 8:24, 4:28]}
        cropped |= {"origin": [(8, 4)] * 2}
        with torch.no_grad():
            inner = task.evaluate(cropped)["preds"][:, 2:-2, 2:-2]
            whole = task.evaluate(given)["preds"][:, 10:22, 6:26]
        assert (inner == whole).float().mean() > 0.999

    def test_pixels_without_a_class_do_not_count(self):
        task = SemanticSegmentation(pointwise_network(), 3)
        nothing = batch() | {"mask": torch.full((2, 32, 32), 255)}
        assert task.evaluate(nothing)["loss"] == 0

    @pytest.mark.parametrize("shown", ["labels in one image", "no labels"])
    def test_a_validation_without_a_label_has_no_loss(self, shown):
        """Not a loss of 0, which would be the best of a run."""
        task, nothing = SemanticSegmentation(pointwise_network(), 3), {"mask": torch.full((2, 32, 32), 255)}
        batches = [batch() if shown == "labels in one image" else batch() | nothing, batch() | nothing]
        trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
        (found,) = trainer.validate(task, DataLoader(batches, batch_size=None), verbose=False)
        if shown == "no labels":
            assert math.isnan(found["val/loss"])
        else:
            assert found["val/loss"] == pytest.approx(task.evaluate(batch())["loss"].item())

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
    def test_masks_of_any_integers_are_the_same_classes(self, dtype):
        task, given = SemanticSegmentation(pointwise_network(), 3), batch()
        expected, outputs = task.evaluate(given), task.evaluate(given | {"mask": given["mask"].to(dtype)})
        assert torch.equal(outputs["loss"], expected["loss"])
        assert torch.equal(outputs["target"], expected["target"])

    def test_a_training_step_reads_nothing_from_the_device(self):
        task = SemanticSegmentation(pointwise_network(), 3).train()
        with device_reads() as found:
            outputs = task.evaluate(batch())
            outputs["loss"].backward()
            task.train_metrics.update(outputs["preds"], outputs["target"])
        on_host = {"layers/frames.py:_check", "core/labels.py:_noted"}  # which skip what is on a device
        assert {place for _, place in found} <= on_host

    def test_a_network_that_checkpoints_activations_is_refused(self):
        class Checkpointed(CoordConv2d):
            def forward(self, x):
                return checkpoint(super().forward, x, use_reentrant=False) if self.training else super().forward(x)

        task = SemanticSegmentation(Checkpointed(3, 3, 1), 3)
        loss = task.train().evaluate(batch())["loss"]
        with pytest.raises(RuntimeError, match=r"run again in a backward pass, .*, without the coordinate_frame"):
            loss.backward()
        task.eval().evaluate(batch())["loss"].backward()  # lets torch drop what it had queued, which it cannot at exit

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"class_names": ["a"]}, "expected 3 class_names, got 1"),
            ({"tile": 64, "overlap": 32}, "tile must be larger"),
        ],
    )
    def test_wrong_arguments_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            SemanticSegmentation(pointwise_network(), 3, **options)


ARGUMENTS = (
    "--data.num_classes=3", "--model.num_classes=3", "--model.net.init_args.num_classes=3",
    "--model.net.init_args.weights_backbone=null", "--data.num_workers=0", "--data.batch_size=2",
    "--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["conv", "coordconv"])
def test_fit_test_and_predict(arm, cli, masks, capsys, request, tmp_path):
    config = request.config.rootpath / "configs" / "segmentation" / f"masks_{arm}.yaml"
    arguments = (f"-c={config}", f"--data.root={masks}", *ARGUMENTS)
    folder = cli("fit", *arguments, "--trainer.max_epochs=1") / "logs" / "segmentation" / f"masks_{arm}" / "version_0"
    assert "test/miou" in capsys.readouterr().out
    assert list((folder / "figures").glob("masks_val_*.png"))
    assert (folder / "figures" / "confusion_test.png").is_file()
    checkpoint = folder / "checkpoints" / "last.ckpt"
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (130, 70), "grey").save(other / "large.png")
    # the config names pretrained weights, which the checkpoint replaces, so that nothing is downloaded
    pretrained = (argument for argument in arguments if "weights_backbone" not in argument)
    options = (f"--data.predict_images={other}", "--model.tile=96", "--model.overlap=32")
    cli("predict", *pretrained, *options, "--ckpt_path", checkpoint)
    (mask,) = folder.parent.glob("version_*/masks/*.png")
    assert mask.name == "large.png"
    assert np.asarray(Image.open(mask)).shape == (70, 130)


@pytest.mark.slow
def test_the_side_of_a_pixel_is_learnt_with_coordinates_only(masks):
    """The class of a pixel is the side of the image that it is on; the network sees one pixel at a time."""
    scores = {}
    for name, layer in {"conv": nn.Conv2d, "coordconv": CoordConv2d}.items():
        torch.manual_seed(0)
        network = nn.Sequential(layer(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 3, 1))
        task = SemanticSegmentation(network, 3)
        data = MaskFolderDataModule(str(masks), 3, batch_size=4, num_workers=0)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(60):
            for given in data.train_dataloader():
                optimizer.zero_grad()
                task.evaluate(given)["loss"].backward()
                optimizer.step()
        metric = MeanIoU(3)
        with torch.no_grad():
            for given in data.val_dataloader():
                outputs = task.evaluate(given)
                metric.update(outputs["preds"], outputs["target"])
        scores[name] = float(metric.compute())
    assert scores["coordconv"] > 0.9 > 0.7 > scores["conv"]


@pytest.mark.parametrize(("given", "named"), [(None, ["a", "b", "c"]), (["x", "y", "z"], ["x", "y", "z"])])
def test_classes_are_logged_by_the_names_of_the_data(given, named, masks):
    data = MaskFolderDataModule(masks, 3, class_names=["a", "b", "c"], batch_size=2, eval_batch_size=2, num_workers=0)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (result,) = trainer.test(SemanticSegmentation(pointwise_network(), 3, class_names=given), data, verbose=False)
    assert [name for name in result if "iou_" in name] == [f"test/iou_{name}" for name in named]


def test_one_class_leaves_nothing_to_predict():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        SemanticSegmentation(nn.Conv2d(3, 1, 1), num_classes=1)


def test_classes_that_have_numbers_for_want_of_names_are_not_said_to_be_others(masks, recwarn):
    named, unnamed = (MaskFolderDataModule(str(masks), 3, class_names=names) for names in (["a", "b", "c"], None))
    assert named.describe()["class_names"] == ["a", "b", "c"]
    assert "class_names" not in unnamed.describe()
    unnamed.compare_description(named.describe())
    assert not recwarn.list
