"""Tests that coordinate frames and fields of wrong types, sizes, crops, samples or non-finite values are refused."""

import math
import re

import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
    Encoding,
    LearnedGrid,
    coordinate_field,
    coordinate_frame,
)
from lightning_coordconv.layers.frames import active_frame


class TestErrors:
    @pytest.mark.parametrize(
        ("origin", "size", "options", "match"),
        [
            (
                (0, 0),
                (8, 8),
                {"crop": (8,)},
                r"origin must have shape \(1,\) or \(B, 1\) for crop=\(8,\), but has \(2,\)",
            ),
            ((0, 0), (8, 8, 8), {"crop": (8, 8)}, r"size must have shape \(2,\) or \(B, 2\) .* but has \(3,\)"),
            ([(0, 0)] * 2, [(8, 8)] * 3, {"crop": (8, 8)}, "origin is of 2 samples, but size of 3"),
            (
                (0, 0),
                (0, 8),
                {"crop": (8, 8)},
                r"size must be positive .* but got \[\[0.0, 8.0\]\]",
            ),
            ((0, 0), (-4, 8), {"crop": (8, 8), "padded": True}, r"size must be positive .* \[\[-4.0, 8.0\]\]"),
            (
                (0, 0),
                (29.5, 30),
                {"crop": (8, 8)},
                r"size must be positive and finite, whole.* but got \[\[29.5, 30.0\]\]",
            ),
            ((0, 0), (8, 8), {"crop": (8, 0)}, r"crop must be positive along every axis, but got \(8, 0\)"),
            ((), (), {"crop": ()}, r"crop must be positive along every axis, but got \(\)"),
            (
                (1, 0),
                (8, 8),
                {"crop": (8, 8)},
                r"crop of \(8, 8\) at origin \[\[1.0, 0.0\]\] is not inside .* \[\[8.0, 8.0\]\]",
            ),
            ((0, -1), (9, 9), {"crop": (8, 8)}, r"origin \[\[0.0, -1.0\]\] is not inside an image .*pass padded=True"),
            (
                (0, 0),
                (8, 8),
                {"crop": (8, 8), "strides": ()},
                r"strides must be positive and finite, and at least one, but got \(\)",
            ),
            ((0, 0), (8, 8), {"crop": (8, 8), "strides": (1, 0)}, r"strides must be positive .* got \(1, 0\)"),
            (
                (0, 0),
                (8, 8),
                {"crop": (8, 8), "strides": (1, math.nan)},
                r"strides must be positive and finite.* nan\)",
            ),
        ],
    )
    def test_frame(self, origin, size, options, match):
        with pytest.raises(ValueError, match=match), coordinate_frame(origin, size, **options):
            pass
        assert active_frame() is None

    def test_a_list_of_tensors_is_traced_to_the_collation_of_tuples(self):
        origins = default_collate([(0, 0), (4, 4)])
        with pytest.raises(TypeError, match=r"origin must be numbers.* default_collate makes a list of tensors"):
            coordinate_frame(origins, (8, 8), crop=(4, 4))

    def test_axes(self):
        with (
            coordinate_frame((0,), (8,), crop=(8,)),
            pytest.raises(ValueError, match=r"the coordinate frame has 1 axes \(crop=\(8,\)\), but the layer has 2"),
        ):
            CoordConv2d(1, 1, 1)(torch.zeros(1, 1, 8, 8))

    @pytest.mark.parametrize("layer", [CoordConv2d(1, 1, 1), AddCoords()])
    @pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 8, 8), (1, 1, 8, 8)])
    def test_samples(self, layer, shape):
        with (
            coordinate_frame([(0, 0), (1, 0), (2, 0)], (16, 16), crop=(8, 8)),
            pytest.raises(ValueError, match=f"frame is of 3 samples, but the input has {2 if shape[0] == 2 else 1}"),
        ):
            layer(torch.zeros(shape))

    @pytest.mark.parametrize(
        ("values", "kind"), [(torch.ones(2, 3, dtype=torch.long), "torch.int64"), ([[0.0]], "list")]
    )
    def test_field_type(self, values, kind):
        match = f"must be a floating-point tensor, but got {kind}"
        with pytest.raises(TypeError, match=match), coordinate_field(values):
            pass

    def test_field_shape(self):
        for shape in [(3, 4, 4), (1, 3, 4, 4), (4, 4), (1, 1, 2, 4, 4)]:
            match = rf"n = 2, but the coordinate field has shape \({', '.join(map(str, shape))}\)"
            with coordinate_field(torch.zeros(shape)), pytest.raises(ValueError, match=match):
                AddCoords()(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_frames_that_are_not_finite_are_refused(number):
    for origin, size, name in (((0, number), (16, 16), "origin"), ((0, 0), (16, number), "size")):
        with (
            pytest.raises(ValueError, match=f"{name} must be .*finite"),
            coordinate_frame(origin, size, crop=(8, 8), padded=True),
        ):
            pass


class TestWrongCrops:
    """A crop that is not that of the network's input, or not inside the image, is refused and not guessed around."""

    @pytest.mark.parametrize(
        ("crop", "input", "strides"),
        [
            ((32, 32), (48, 48), None),  # scaled by 3/2 after it was cropped
            ((32, 64), (64, 32), None),  # height and width exchanged
            ((32, 32), (16, 64), None),
            ((8, 8), (24, 24), None),  # upsampled by 3
            ((32, 32), (64, 64), (1, 2)),  # finer than the finest stride
        ],
    )
    def test_a_map_that_no_such_crop_gives_is_refused(self, crop, input, strides):
        with (
            coordinate_frame((0, 0), (64, 64), crop=crop, strides=strides),
            pytest.raises(ValueError, match=rf"a map of \({input[0]}, {input[1]}\) cells .* crop is \({crop[0]}, "),
        ):
            CoordConv2d(1, 1, 3, padding=1)(torch.zeros(1, 1, *input))

    def test_a_named_stride_allows_what_is_no_power_of_two(self):
        up = nn.Sequential(nn.Upsample(scale_factor=3), AddCoords(1))
        whole = up(torch.zeros(1, 1, 16))[0, 1]
        with coordinate_frame((6,), (16,), crop=(8,), strides=(1 / 3, 1)):
            torch.testing.assert_close(up(torch.zeros(1, 1, 8))[0, 1], whole[18:42])

    @pytest.mark.parametrize("wrong", [torch.tensor(float("nan")), torch.tensor(8.5), torch.tensor(True), True, -8, 0])
    def test_a_crop_that_is_no_positive_integer_is_refused(self, wrong):
        with (
            pytest.raises((TypeError, ValueError), match="crop must be"),
            coordinate_frame((0, 0), (16, 16), crop=(wrong, 8)),
        ):
            pass

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
    def test_a_crop_outside_is_refused_whatever_the_dtype(self, dtype):
        origin = torch.tensor([200, 200]).to(dtype)
        with (
            pytest.raises(ValueError, match="is not inside an image of"),
            coordinate_frame(origin, (256, 256), crop=(100, 100)),
        ):
            pass

    @pytest.mark.parametrize(("origin", "size"), [((2**62, 0), (2**62, 64)), ((0, 0), (1e30, 64))])
    def test_sizes_whose_cells_float32_cannot_tell_apart_are_refused(self, origin, size):
        with (
            pytest.raises(ValueError, match="at most 16777216 cells"),
            coordinate_frame(origin, size, crop=(8, 8), padded=True),
        ):
            pass


class TestCoordinatesThatAreNotFinite:
    """NaN and infinite coordinates are refused where they enter: in a field, or in what an encoding returns."""

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
    def test_of_a_field(self, number):
        values = torch.zeros(2, 4, 4, dtype=torch.float64)
        values[1, 2, 3] = number
        with (
            pytest.raises(ValueError, match=f"a coordinate field must be finite .*{re.escape(str(number))}"),
            coordinate_field(values),
        ):
            pass

    def test_a_field_without_values(self):
        with pytest.raises(ValueError, match="must have values"), coordinate_field(torch.zeros(2, 0, 4)):
            pass

    @pytest.mark.parametrize("module", [AddCoords, lambda encoding: CoordConv2d(1, 1, 1, encoding=encoding)])
    def test_of_the_parameters_of_an_encoding(self, module):
        grid = LearnedGrid(2, (3, 3))
        layer = module(encoding=grid)
        with torch.no_grad():
            grid.values[0, 1, 1] = float("nan")
        with pytest.raises(ValueError, match=r"what LearnedGrid.* returns must be finite .*nan"):
            layer(torch.zeros(1, 1, 5, 5))

    def test_of_what_an_encoding_of_the_user_returns(self):
        class Logarithm(Encoding):
            def num_channels(self, num_axes):
                return num_axes

            def forward(self, grid):
                return (grid + 1).log()

        with pytest.raises(ValueError, match=r"what Logarithm.* returns must be finite in float32, but holds -inf"):
            AddCoords(encoding=Logarithm())(torch.zeros(1, 1, 4, 4))
