"""Tests of how images reach a model: crops that need a frame, random samples and sizes, independence of the batch."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from lightning_coordconv.position import advise, check_frames
from tests.position.samples import GivenDataModule, Samples, images


class TestFrames:
    @pytest.mark.slow
    def test_crops_that_say_where_they_lie_need_their_frame(self):
        samples = [{"image": image, "origin": (0, 8), "size": (64, 64)} for image in images(4)]
        assert check_frames(nn.Conv2d(1, 2, 3), Samples(samples), images(4)).placed
        mask = torch.arange(32).expand(32, 32) // 16
        data = GivenDataModule([sample | {"mask": mask} for sample in samples * 10])
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        assert "coordinate_frame(origin, size" in str(advise(network, data))

    def test_random_samples_and_sizes_are_found(self):
        class Random(Samples):
            def __getitem__(self, index: int) -> Mapping[str, Any]:
                return {"image": torch.rand(1, 32, 32)}

        network = nn.Conv2d(1, 2, 3)
        sizes = [torch.rand(1, 32, 32), torch.rand(1, 32, 48)]
        found = check_frames(network, Random([{}] * 4), sizes)
        assert found.random
        assert found.sizes == 2
        assert not check_frames(network, Samples([{"image": image} for image in images(4)]), sizes[:1]).random

    @pytest.mark.parametrize("seed", range(20))
    def test_a_flip_of_half_of_the_samples_is_found(self, seed):
        generator = torch.Generator().manual_seed(seed)

        class Flipped(Samples):
            def __getitem__(self, index: int) -> Mapping[str, Any]:
                image = self.samples[index]["image"]
                return {"image": image.flip(2) if torch.rand((), generator=generator) < 0.5 else image}

        data = Flipped([{"image": image} for image in images(16)])
        assert check_frames(nn.Conv2d(1, 2, 3), data, images(1)).random

    @pytest.mark.slow
    def test_a_convolution_does_not_change_with_the_batch(self):
        model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
        given = images(4, 3, 64)
        found = check_frames(model, Samples([{"image": image} for image in given]), given[:2])
        assert found.batch is not None
        assert found.resized is None


def test_the_size_of_a_picture_file_makes_no_crop_of_its_sample():
    """As of :class:`~lightning_coordconv.coordinates.PointImages`, whose pictures are stretched to a square."""
    samples = [{"image": image, "size": torch.tensor([640.0, 480.0])} for image in images(4)]
    assert check_frames(nn.Conv2d(1, 1, 1), Samples(samples), images(4)).placed is False
