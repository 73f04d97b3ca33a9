"""Tests of semantic segmentation: metrics, networks, tiles, the task, training and the command line."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from lightning_coordconv import CoordConv2d, coordconv_layers
from lightning_coordconv.core.figures import draw_confusion
from lightning_coordconv.segmentation import (
    MaskFolderDataModule,
    MeanIoU,
    PixelAccuracy,
    SegmentationFigures,
    SegmentationNetwork,
    SemanticSegmentation,
    figures,
    predict_tiles,
)
from lightning_coordconv.segmentation.metrics import ConfusionMatrix
from tests.classification.test_task import quiet
from tests.device_reads import device_reads
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


@pytest.mark.slow
@pytest.mark.parametrize("coordinates", ["none", "first", "head"])
@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_networks_keep_their_function_when_they_get_coordinates(name, coordinates):
    torch.manual_seed(0)
    plain = SegmentationNetwork(name, 3).eval()
    network = SegmentationNetwork(name, 3, coordinates).eval()
    network.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(image)["out"], plain(image)["out"])
    assert len(coordconv_layers(network)) == (coordinates != "none")


@pytest.mark.parametrize(("name", "value"), [("name", "unet"), ("coordinates", "tail")])
def test_unknown_networks_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got '{value}'"):
        SegmentationNetwork(**{name: value})


def pointwise_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        CoordConv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), CoordConv2d(8, 3, 1)
    )


class TestTiles:
    @pytest.mark.parametrize(("tile", "overlap"), [(32, 4), (16, 4), (40, 8), (64, 16), (12, 2)])
    @pytest.mark.parametrize("size", [(64, 96), (50, 33), (8, 100)])
    def test_tiles_agree_with_the_whole_image(self, size, tile, overlap):
        network, image = pointwise_network(), torch.rand(3, *size)
        with torch.no_grad():
            whole = network(image[None])[0].argmax(0)
            tiled = predict_tiles(network, image, tile, overlap)
        assert tiled.dtype == torch.uint8
        assert (tiled == whole).float().mean() > 0.999  # where two classes are equal to rounding either may win

    def test_a_network_with_a_stride_agrees_too(self):
        torch.manual_seed(0)
        network = nn.Sequential(
            CoordConv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            CoordConv2d(8, 3, 3, padding=1),
            nn.Upsample(scale_factor=2),
        )
        image = torch.rand(3, 128, 96)
        with torch.no_grad():
            whole = network(image[None])[0].argmax(0)
            assert (predict_tiles(network, image, 64, 16) == whole).float().mean() > 0.999

    def test_of_an_image_in_a_file_one_tile_at_a_time_is_prepared(self, tmp_path):
        generator = np.random.default_rng(0)
        image = np.memmap(tmp_path / "image.raw", np.uint8, "w+", shape=(3, 200, 150))
        image[:] = generator.integers(0, 256, image.shape, np.uint8)
        image.flush()
        mapped = torch.from_numpy(np.memmap(tmp_path / "image.raw", np.uint8, "c", shape=image.shape))
        network, shapes = pointwise_network(), []

        def prepare(part: torch.Tensor) -> torch.Tensor:
            shapes.append(part.shape)
            return part / 255

        with torch.no_grad():
            tiled = predict_tiles(network, mapped, 64, 8, prepare)
            assert max(max(shape) for shape in shapes) == 64
            assert (tiled == network(mapped[None] / 255)[0].argmax(0)).float().mean() > 0.999

    def test_without_frames_tiles_would_not_agree(self):
        """The test above can fail: tiles that take themselves for the whole image give other classes."""
        network, image = pointwise_network(), torch.rand(3, 64, 96)
        with torch.no_grad():
            whole = network(image[None])[0].argmax(0)
            apart = torch.cat([network(part[None])[0].argmax(0) for part in image.split(32, dim=1)])
        assert (apart == whole).float().mean() < 0.99


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

    def test_a_training_step_reads_nothing_from_the_device(self):
        task = SemanticSegmentation(pointwise_network(), 3).train()
        with device_reads() as found:
            outputs = task.evaluate(batch())
            outputs["loss"].backward()
            task.train_metrics.update(outputs["preds"], outputs["target"])
        on_host = {"layers/frames.py:_check", "core/labels.py:_noted"}  # which skip what is on a device
        assert {place for _, place in found} <= on_host

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
