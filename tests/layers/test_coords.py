"""Tests of coordinate axes and grids against their documented values: ends, conventions, crops, dtypes, resampling."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from lightning_coordconv.layers.coords import coordinate_axes, coordinate_dtype, coordinate_grid, resample_grid

from .oracle import coordinates

QUICK = settings(max_examples=60)


class TestAxes:
    @pytest.mark.slow
    @QUICK
    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
    def test_grid_equals_the_definition(self, sizes):
        grid = coordinate_grid(coordinate_axes(sizes, dtype=torch.float64))
        torch.testing.assert_close(grid[0], coordinates(sizes), rtol=0, atol=1e-15)

    @QUICK
    @given(size=st.integers(2, 100_000))
    def test_ends_are_exact_and_halves_mirror(self, size):
        (axis,) = coordinate_axes([size])
        assert (axis[0].item(), axis[-1].item()) == (-1, 1)
        assert torch.equal(axis, -axis.flip(0))
        assert (axis.diff() > 0).all()

    def test_hand_written(self):
        rows, columns = coordinate_axes((2, 5))
        assert rows.tolist() == [-1, 1]
        assert columns.tolist() == [-1, -0.5, 0, 0.5, 1]
        assert [axis.tolist() for axis in coordinate_axes((1, 1))] == [[0], [0]]
        rows, columns = coordinate_axes((2, 4), align_corners=False)
        assert rows.tolist() == [-0.5, 0.5]
        assert columns.tolist() == [-0.75, -0.25, 0.25, 0.75]
        rows, columns = coordinate_axes((3, 5), preserve_aspect=True)
        assert rows.tolist() == [-0.5, 0, 0.5]
        assert columns.tolist() == [-1, -0.5, 0, 0.5, 1]
        rows, columns = coordinate_axes((2, 4), preserve_aspect=True, align_corners=False)
        assert rows.tolist() == [-0.25, 0.25]
        assert columns.tolist() == [-0.75, -0.25, 0.25, 0.75]

    def test_half_pixel_cells_keep_their_place_when_a_map_is_pooled(self):
        (fine,), (coarse,) = coordinate_axes([12], align_corners=False), coordinate_axes([4], align_corners=False)
        torch.testing.assert_close(fine.view(4, 3).mean(1), coarse)

    @pytest.mark.parametrize("align_corners", [True, False])
    @pytest.mark.parametrize("preserve_aspect", [True, False])
    def test_place(self, align_corners, preserve_aspect):
        """A window of a map has the coordinates of the map, bit for bit, and windows may differ."""
        options = {"align_corners": align_corners, "preserve_aspect": preserve_aspect}
        whole = coordinate_axes((7, 10), **options)
        first = torch.tensor([[0.0, 4.0], [3.0, 6.0]])
        axes = coordinate_axes((4, 4), place=(first, torch.tensor([[7.0, 10.0]])), **options)
        for sample in range(2):
            for k in range(2):
                start = int(first[sample, k])
                assert torch.equal(axes[k][sample], whole[k][start : start + 4])
        assert coordinate_grid(axes).shape == (2, 2, 4, 4)

    @pytest.mark.parametrize(
        ("dtype", "expected"),
        [
            (torch.bfloat16, torch.float32),
            (torch.float16, torch.float32),
            (torch.float32, torch.float32),
            (torch.float64, torch.float64),
            (torch.complex64, torch.float32),
            (torch.complex128, torch.float64),
        ],
    )
    def test_dtype(self, dtype, expected):
        assert coordinate_dtype(dtype) == expected

    def test_resample_to_the_same_size_is_the_same_tensor(self):
        grid = torch.randn(1, 2, 3, 4)
        assert resample_grid(grid, (3, 4)) is grid
