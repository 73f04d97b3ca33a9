"""Tests of coordinate encodings: documented values, shapes, dtypes, learned grids, users' encodings, and refusals."""

import math

import numpy as np
import pytest
import torch

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    ConstantCoordinates,
    CoordConv1d,
    CoordConv2d,
    Encoding,
    FourierFeatures,
    LearnedGrid,
    Polar,
    Sinusoidal,
    coordinate_frame,
)
from lightning_coordconv.layers.coords import coordinate_axes, coordinate_grid

ENCODINGS = [
    Cartesian(),
    Cartesian(with_r=True, align_corners=False),
    Polar(preserve_aspect=True),
    FourierFeatures(3),
    FourierFeatures(1, include_coordinates=False),
    Sinusoidal(3, temperature=100.0),
    ConstantCoordinates(),
]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ENCODINGS, ids=repr)
    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_shape_and_dtype(self, encoding, n, dtype):
        grid = torch.rand(2, n, *(3, 4, 5)[:n], dtype=dtype) * 2 - 1
        out = encoding(grid)
        assert out.shape == (2, encoding.num_channels(n), *grid.shape[2:])
        assert out.dtype == dtype
        assert not list(encoding.state_dict())

    def test_polar(self):
        out = Polar()(coordinate_grid(coordinate_axes((3, 3))))[0]
        half = math.sqrt(0.5)
        torch.testing.assert_close(out[:, 0, 0], torch.tensor([math.sqrt(2), -half, -half]))
        torch.testing.assert_close(out[:, 1, 2], torch.tensor([1.0, 0.0, 1.0]))
        assert out[:, 1, 1].tolist() == [0, 0, 0]

    def test_fourier(self):
        out = FourierFeatures(2)(torch.tensor([[[0.25, -1.0]]]))[0]
        expected = [[0.25, -1], [half := math.sqrt(0.5), 0], [1, 0], [half, -1], [0, 1]]
        torch.testing.assert_close(out, torch.tensor(expected), rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match="num_frequencies must be from 1 to 24, but got 0"):
            FourierFeatures(0)

    def test_sinusoidal(self):
        """Angles 0, pi and 2 pi at the first frequency, a tenth of them at the second, of temperature 100."""
        out = Sinusoidal(2, temperature=100.0)(torch.tensor([[[-1.0, 0.0, 1.0]]]))[0]
        angles = [[0, math.pi, 2 * math.pi], [0, math.pi / 10, math.pi / 5]]
        expected = [[wave(angle) for angle in row] for wave in (math.sin, math.cos) for row in angles]
        torch.testing.assert_close(out, torch.tensor(expected), rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match="num_frequencies must be at least 1, but got 0"):
            Sinusoidal(0)
        with pytest.raises(ValueError, match=r"temperature must be finite and greater than 1, but got 1\.0"):
            Sinusoidal(2, temperature=1.0)

    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("align_corners", [False, True])
    def test_a_learned_grid_is_itself_on_a_map_of_its_size(self, n, align_corners):
        size = (3, 4, 5)[:n]
        encoding = LearnedGrid(6, size, align_corners=align_corners)
        grid = coordinate_grid(coordinate_axes(size, align_corners=align_corners, dtype=torch.float64))
        out = encoding(grid)
        assert out.dtype == torch.float64
        torch.testing.assert_close(out[0], encoding.values.double(), rtol=0, atol=1e-6)

    def test_a_learned_grid_is_interpolated_and_its_border_continues(self):
        encoding = LearnedGrid(1, (2, 2))
        with torch.no_grad():
            encoding.values.copy_(torch.tensor([[[0.0, 1.0], [10.0, 11.0]]]))
        grid = torch.tensor([[0.0, 0.0], [0.5, -1.0], [-1.0, 3.0]]).T.view(1, 2, 3, 1)
        assert encoding(grid).flatten().tolist() == [5.5, 7.5, 1.0]

    def test_a_learned_grid_trains_with_its_layer(self):
        layer, x = CoordConv2d(1, 2, 3, padding=1, encoding=LearnedGrid(5, (4, 4))), torch.randn(2, 1, 6, 7)
        assert layer.coord_weight.shape == (2, 5, 3, 3)
        layer(x).square().sum().backward()
        assert (layer.encoding.values.grad != 0).any(dim=0).all()
        assert "encoding.values" in layer.state_dict()
        with coordinate_frame(torch.tensor([[0, 0], [6, 7]]), (12, 14), crop=(6, 7)):
            assert layer(x).shape == (2, 2, 6, 7)

    def test_coordinates_of_lower_precision_are_refused(self):
        class Rounded(Cartesian):
            def forward(self, grid):
                return grid.half()

        layer = CoordConv2d(1, 2, 3, encoding=Rounded())
        with pytest.raises(ValueError, match=r"must return a tensor of torch.float32, but returned torch.float16"):
            layer(torch.randn(1, 1, 8, 8))

    def test_learned_grids_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"learned grid of size \(4, 4\) has 2 axes, but the layer has 1"):
            CoordConv1d(1, 2, 3, encoding=LearnedGrid(5, (4, 4)))
        with pytest.raises(ValueError, match="channels must be at least 1, but got 0"):
            LearnedGrid(0, (4, 4))
        for size in [(), (4, 0), (2, 2, 2, 2)]:
            with pytest.raises(ValueError, match=r"size must be .*integers?.*, but got"):
                LearnedGrid(1, size)

    def test_reprs_show_what_differs(self):
        assert [repr(encoding) for encoding in ENCODINGS[:4]] == [
            "Cartesian()",
            "Cartesian(with_r=True, align_corners=False)",
            "Polar(preserve_aspect=True)",
            "FourierFeatures(num_frequencies=3, include_coordinates=True)",
        ]

    def test_convention_reaches_the_layer(self):
        layer = CoordConv2d(1, 2, 1, bias=False, encoding=Cartesian(align_corners=False, preserve_aspect=True))
        with torch.no_grad():
            layer.weight.zero_()
            layer.coord_weight.copy_(torch.eye(2)[..., None, None])
        out = layer(torch.zeros(1, 2, 4))
        assert out[0, :, 0].tolist() == [-0.25, 0.25]
        assert out[1, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]

    def test_a_users_encoding_may_have_parameters(self):
        class Warp(Encoding):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(()))

            def num_channels(self, num_axes):
                return 1

            def forward(self, grid):
                return (grid * self.scale).prod(dim=1, keepdim=True)

        layer = CoordConv2d(1, 2, 3, encoding=Warp())
        assert layer.coord_weight.shape == (2, 1, 3, 3)
        layer(torch.zeros(2, 1, 5, 5)).square().sum().backward()
        assert layer.encoding.scale.grad != 0
        assert "encoding.scale" in layer.state_dict()

    def test_unfinished(self):
        with pytest.raises(NotImplementedError, match="Encoding must define num_channels"):
            CoordConv2d(1, 1, 1, encoding=Encoding())
        with pytest.raises(NotImplementedError, match="Encoding must define forward"):
            Encoding()(torch.zeros(1, 2, 2, 2))

        class Nothing(Encoding):
            def num_channels(self, num_axes):
                return 0

        with pytest.raises(ValueError, match="makes 0 channels of 2 coordinates"):
            CoordConv2d(1, 1, 1, encoding=Nothing())


@pytest.mark.parametrize("count", [25, 200])
def test_fourier_frequencies_that_single_precision_lacks_are_refused(count):
    with pytest.raises(ValueError, match="num_frequencies must be from 1 to 24, but got"):
        FourierFeatures(count)
    assert FourierFeatures(24)(torch.rand(1, 2, 3, 3)).isfinite().all()


@pytest.mark.parametrize(
    "wrong", [lambda g: g[:, :1], lambda g: g[..., :1], lambda g: g.mean((2, 3), keepdim=True), lambda g: g[0],
              lambda g: g.repeat(3, 1, 1, 1), lambda g: None]
)  # fmt: skip
def test_an_encoding_of_another_shape_is_refused_not_broadcast(wrong):
    class Wrong(Encoding):
        def num_channels(self, num_axes):
            return num_axes

        def forward(self, grid):
            return wrong(grid)

    for module in (CoordConv2d(3, 4, 3, padding=1, encoding=Wrong()), AddCoords(encoding=Wrong())):
        with pytest.raises(ValueError, match=r"Wrong\(\) must return a tensor of shape \(1, 2, 5, 6\), but returned"):
            module(torch.rand(2, 3, 5, 6))


class Waves(Encoding):
    """Has an option, and no text of its own."""

    def __init__(self, pace: float, **options) -> None:
        super().__init__(**options)
        self.pace, self.cached = pace, None

    def num_channels(self, num_axes):
        return num_axes

    def forward(self, grid):
        return (self.pace * grid).sin()


def test_weights_do_not_load_into_another_option_of_an_own_encoding():
    layer = CoordConv2d(1, 2, 3, encoding=Waves(3.0, align_corners=False))
    assert "Waves(align_corners=False, pace=3.0)" in repr(layer)
    CoordConv2d(1, 2, 3, encoding=Waves(3.0, align_corners=False)).load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match=r"pace=3\.0"):
        CoordConv2d(1, 2, 3, encoding=Waves(9.0, align_corners=False)).load_state_dict(layer.state_dict())


@pytest.mark.parametrize(
    ("base", "arguments"),
    [(Encoding, ()), (Cartesian, ()), (Polar, ()), (ConstantCoordinates, ()), (FourierFeatures, (2,)),
     (Sinusoidal, (2,)), (LearnedGrid, (3, (4, 4)))],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_weights_do_not_load_into_another_option_of_a_subclass_of_any_encoding(base, arguments):
    class Scaled(base):
        def __init__(self, scale: float) -> None:
            super().__init__(*arguments)
            self.scale = scale

        def num_channels(self, num_axes):
            return num_axes if base is Encoding else super().num_channels(num_axes)

        def forward(self, grid):
            return grid * self.scale if base is Encoding else super().forward(grid * self.scale)

    class Named(Scaled):
        """Has a text of its own, which does without an attribute that training changes."""

        def extra_repr(self):
            self.calls = getattr(self, "calls", 0) + 1
            return f"{super().extra_repr()}, scale={self.scale}"

    for kind in (Scaled, Named):
        layers = [CoordConv2d(1, 2, 3, encoding=kind(scale)) for scale in (1.0, 1.0, 0.3)]
        layers[1].load_state_dict(layers[0].state_dict())
        with pytest.raises(RuntimeError, match=r"scale=1\.0.*scale=0\.3"):
            layers[2].load_state_dict(layers[0].state_dict())
    assert Named(1.0).extra_repr().removeprefix(", ") == Scaled(1.0).extra_repr()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Sinusoidal(2, temperature=100), Sinusoidal(np.int64(2), temperature=np.float32(100))),
        (FourierFeatures(2, include_coordinates=1), FourierFeatures(np.int64(2), include_coordinates=True)),
        (Cartesian(with_r=1), Cartesian(with_r=True)),
        (Polar(align_corners=0, preserve_aspect=1), Polar(align_corners=False, preserve_aspect=True)),
    ],
    ids=lambda encoding: type(encoding).__name__,
)
def test_weights_load_however_an_equal_option_is_written(one, other):
    assert repr(one) == repr(other)
    CoordConv2d(1, 2, 3, encoding=one).load_state_dict(CoordConv2d(1, 2, 3, encoding=other).state_dict())
