"""Tests that prediction tile by tile equals prediction of the whole image, also from a file, and needs frames."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_coordconv import CoordConv2d
from lightning_coordconv.core.undefined import UndefinedOutputError
from lightning_coordconv.segmentation import (
    predict_tiles,
)


def pointwise_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        CoordConv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), CoordConv2d(8, 3, 1)
    )


class Quartered(nn.Module):
    """Computes logits of 3 classes at a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 3, 3, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.down(x), x.shape[-2:])


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

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_tiles_have_the_dtype_of_the_network(self, dtype):
        network, image = pointwise_network().to(dtype), torch.rand(3, 32, 32)
        with torch.no_grad():
            whole = network(image[None].to(dtype))[0].argmax(0)
            tiled = predict_tiles(network, image, 16, 4)
            scaled = predict_tiles(network, (image * 255).byte(), 16, 4, prepare=lambda tile: tile / 255)
        assert (tiled == whole).float().mean() > 0.98
        assert (scaled == whole).float().mean() > 0.9

    def test_a_network_that_trains_predicts_in_evaluation_mode(self):
        network, image = pointwise_network(), torch.rand(3, 40, 40)
        network.insert(1, nn.BatchNorm2d(8)).insert(2, nn.Dropout(0.9))
        network[1].running_mean += torch.arange(8) / 20
        frozen = network[2].eval()  # whose mode, unlike the others', stays
        kept, before = predict_tiles(network, image, 16, 4), {k: v.clone() for k, v in network.state_dict().items()}
        with torch.no_grad():
            whole = network.eval()(image[None])[0].argmax(0)
        network.train()
        frozen.eval()
        assert (kept == whole).float().mean() > 0.999
        assert torch.equal(predict_tiles(network, image, 16, 4), kept)
        assert network.training
        assert not frozen.training
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    @pytest.mark.parametrize(("tile", "overlap", "strides"), [(64, 15, None), (62, 15, None), (30, 1, [1, 4])])
    def test_tiles_between_the_cells_of_a_network_are_named(self, tile, overlap, strides):
        network, image = Quartered(), torch.rand(3, 96, 96)
        with torch.no_grad():
            with pytest.warns(UserWarning, match=rf"tiles of {tile} pixels .* no multiples of 4,"):
                predict_tiles(network, image, tile, overlap, strides=strides)
            predict_tiles(network, image, 32, 4, strides=strides)
            predict_tiles(network, image[:, :24, :24], tile, overlap, strides=strides)

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


class TestRefused:
    @pytest.mark.parametrize(
        "network",
        [nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(2), nn.Conv2d(3, 1, 1), nn.Flatten()],
        ids=["larger", "one cell", "smaller", "one class", "a vector"],
    )
    def test_logits_that_are_not_those_of_the_pixels(self, network):
        with pytest.raises(ValueError, match=r"must return logits .* size of a tile, here 8 x 8, got \("):
            predict_tiles(network, torch.rand(3, 8, 8), 16, 2)

    @pytest.mark.parametrize("logit", [torch.nan, torch.inf])
    def test_logits_that_order_no_classes(self, logit):
        image = torch.zeros(3, 8, 8)
        image[1, 5, 5] = logit
        with pytest.raises(UndefinedOutputError, match="Identity returned NaN or infinity, so a pixel has no class"):
            predict_tiles(nn.Identity(), image, 16, 2)

    @pytest.mark.parametrize("overlap", [-1, 2, 3])
    def test_tiles_of_which_nothing_is_left(self, overlap):
        with pytest.raises(ValueError, match=f"tile must be larger than two overlaps of {overlap}, got 4"):
            predict_tiles(nn.Identity(), torch.rand(3, 8, 8), 4, overlap)
