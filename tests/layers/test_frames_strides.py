"""Tests that strides that are no powers of two are named, refused, or have the coordinates of the whole image."""

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import AddCoords, coordinate_frame
from lightning_coordconv.layers.frames import active_frame


def seen(stride, crop, origin=0, size=None, strides=None):
    """Return the coordinates that a layer behind patches of ``stride`` cells sees."""
    net = nn.Sequential(nn.MaxPool1d(stride), AddCoords(1))
    with coordinate_frame((origin,), (crop if size is None else size,), crop=(crop,), strides=strides):
        return net(torch.zeros(1, 1, crop))[0, 1]


class TestTotalStrides:
    @pytest.mark.parametrize("stride", range(1, 17))
    def test_a_crop_has_the_coordinates_of_the_image_or_is_refused(self, stride):
        wanted = torch.linspace(-1, 1, 96)[32:64]
        given = {"crop": 32 * stride, "origin": 32 * stride, "size": 96 * stride}
        torch.testing.assert_close(seen(stride, **given, strides=(stride,)), wanted)
        torch.testing.assert_close(seen(stride, **given, strides=(1.0, float(stride))), wanted)
        if stride in (1, 2, 4, 8, 16):
            torch.testing.assert_close(seen(stride, **given), wanted)
        else:
            match = rf"a map of 32 cells of a crop of {32 * stride} looks like a total stride of {stride}, .* strides"
            with pytest.raises(ValueError, match=match):
                seen(stride, **given)

    @pytest.mark.parametrize("strides", [(1,), (1, 3)])
    def test_a_stride_that_is_not_named_is_refused(self, strides):
        with pytest.raises(ValueError, match=r"a map of \(8,\) cells does not fit .* strides must name the total"):
            seen(6, crop=48, strides=strides)

    @pytest.mark.parametrize("crop", [84, 96, 224])
    def test_a_map_of_one_cell_is_one_that_was_pooled(self, crop):
        with coordinate_frame((0,), (crop,), crop=(crop,)):
            assert AddCoords(1)(torch.zeros(1, 1, 1))[0, 1].shape == (1,)

    @pytest.mark.parametrize(
        ("crop", "maps"), [(224, (55, 27, 13)), (84, (20, 9)), (100, (50, 25, 13, 7, 4)), (480, (15,)), (500, (16,))]
    )
    def test_maps_of_powers_of_two_are_taken_as_ever(self, crop, maps):
        """AlexNet, the network of deep Q-learning, and networks that pad, on multiples of their stride and others."""
        for cells in maps:
            with coordinate_frame((0,), (crop,), crop=(crop,)):
                assert AddCoords(1)(torch.zeros(1, 1, cells))[0, 1, 0] == -1

    @pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
    def test_crops_that_are_no_multiple_of_a_power_of_two_are_taken(self, stride):
        for crop in range(stride, 600):
            with coordinate_frame((0,), (crop,), crop=(crop,)):
                for cells in {crop // stride, -(crop // -stride)}:
                    active_frame().place((cells,), torch.device("cpu"), torch.float32)
