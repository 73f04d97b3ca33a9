"""Tests of coordinate fields: given coordinates at input resolution, resampled to maps, per sample, and learnable."""

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    CoordConv2d,
    coordinate_field,
)
from tests.layers.test_frames import CLOSE, hourglass


class TestField:
    def test_at_input_resolution(self):
        metres = torch.rand(2, 5, 6) * 10
        x = torch.randn(3, 1, 5, 6)
        with coordinate_field(metres):
            out = AddCoords(with_r=True)(x)
        assert torch.equal(out[:, 1:3], metres.expand(3, 2, 5, 6))
        torch.testing.assert_close(out[:, 3], metres.square().sum(0).sqrt().expand(3, 5, 6))

    def test_of_each_sample(self):
        metres = torch.rand(3, 2, 5, 6)
        with coordinate_field(metres):
            assert torch.equal(AddCoords()(torch.randn(3, 1, 5, 6))[:, 1:], metres)
            with pytest.raises(ValueError, match="frame is of 3 samples, but the input has 2"):
                AddCoords()(torch.randn(2, 1, 5, 6))

    @pytest.mark.parametrize("align_corners", [True, False])
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_resampled_like_interpolate(self, n, align_corners):
        field = torch.randn(2, n, *(9, 8, 7)[:n])
        size = (4, 11, 3)[:n]
        with coordinate_field(field):
            out = AddCoords(n, encoding=Cartesian(align_corners=align_corners))(torch.zeros(2, 1, *size))[:, 1:]
        mode = ("linear", "bilinear", "trilinear")[n - 1]
        torch.testing.assert_close(out, nn.functional.interpolate(field, size, mode=mode, align_corners=align_corners))

    def test_one_cell_is_the_middle(self):
        with coordinate_field(torch.tensor([[0.0, 1.0, 5.0]])):
            assert AddCoords(1)(torch.zeros(1, 1))[1].tolist() == [1.0]

    def test_the_default_grid_as_a_field_changes_nothing(self):
        net, x = hourglass(), torch.randn(2, 3, 33, 17)  # sizes that every stride divides, less one
        grid = AddCoords()(x)[0, 3:]
        with coordinate_field(grid):
            inside = net[:5](x)
        torch.testing.assert_close(inside, net[:5](x), **CLOSE)

    def test_learnable_coordinates_get_gradients(self):
        field = torch.randn(2, 4, 4, requires_grad=True)
        with coordinate_field(field):
            CoordConv2d(1, 2, 3)(torch.zeros(2, 1, 4, 4)).sum().backward()
        assert field.grad.abs().min() > 0

    def test_an_encoding_that_works_in_place_leaves_the_values_alone(self):
        class Doubled(Cartesian):
            def forward(self, grid):
                return grid.mul_(2)

        metres, layer = torch.rand(2, 4, 4), AddCoords(encoding=Doubled())
        before = metres.clone()
        with coordinate_field(metres):
            outputs = [layer(torch.zeros(1, 4, 4))[1:] for _ in range(2)]
        assert torch.equal(metres, before)
        assert all(torch.equal(out, 2 * before) for out in outputs)

    def test_half_precision_values(self):
        with coordinate_field(torch.rand(2, 4, 4).half()):
            assert CoordConv2d(1, 2, 3)(torch.zeros(2, 1, 8, 8)).dtype == torch.float32
