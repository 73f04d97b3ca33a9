"""Tests of how well feature maps predict position: coordinates, zero padding, and layers that know nothing."""

import torch
from torch import nn

from lightning_coordconv import CoordConv2d
from lightning_coordconv.position import read_positions
from lightning_coordconv.position.features import feature_maps, stages
from tests.position.samples import images


class TestReadout:
    def test_coordinates_are_read(self):
        network = nn.Sequential(CoordConv2d(1, 8, 1), nn.Identity())
        (stage,) = read_positions(network, images(8), ["0"])
        assert min(stage.images_low, stage.without_padding, stage.blank, stage.blank_without_padding) > 0.99

    def test_zero_padding_is_found_and_taken_away(self):
        network = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())])
        network[0] = nn.Conv2d(1, 8, 3, padding=1)
        (stage,) = read_positions(network, images(8, size=12), ["11"])
        assert stage.blank > 0.15
        assert stage.blank_without_padding == 0
        assert 1 <= stage.reach <= 6
        assert stage.without_padding < 0.1

    def test_a_layer_without_padding_knows_nothing(self):
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
        (stage,) = read_positions(network, images(8), ["1"])
        assert stage.images < 0.1
        assert stage.blank == 0
        assert stage.reach == 0


class ChannelsLast(nn.Module):
    """Returns maps with channels last after convolutions, as Swin does, and of attention (heads, cells, cells)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.attention = nn.Identity()
        self.merged = nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, image):
        maps = self.norm(self.first(image).permute(0, 2, 3, 1))
        cells = maps.flatten(1, 2)
        self.attention((cells @ cells.mT)[None])
        return self.pool(self.merged(maps[:, ::2, ::2].permute(0, 3, 1, 2))).flatten(1)


def test_only_maps_of_the_image_are_stages():
    assert stages(ChannelsLast().eval(), images(1)) == ["first", "merged"]


def test_features_are_those_that_a_stage_returned():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 2, 3)

        def forward(self, image):
            return self.first(image).relu_().mean((2, 3))

    model, (image,) = InPlace(), images(1)
    (found,) = feature_maps(model, [image], ["first"])["first"]
    assert torch.equal(found, model.first(image[None])[0])
