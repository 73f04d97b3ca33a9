"""Tests of how well feature maps predict position: coordinates, zero padding, and layers that know nothing."""

from torch import nn

from lightning_coordconv import CoordConv2d
from lightning_coordconv.position import read_positions
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
