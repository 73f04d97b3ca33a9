"""Tests that layers and functions name wrong arguments and their values, and which dtypes their weights may have."""

import inspect
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import lightning_coordconv.layers as layers
from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    ConstantCoordinates,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    FourierFeatures,
    LearnedGrid,
    Polar,
    Sinusoidal,
    TiledCoordConv2d,
    coordconv_layers,
    coordinate_field,
    coordinate_frame,
    fold_coordconv,
    from_coordconv,
    fuse_conv_bn,
    limit_coordinate_cache,
    to_coordconv,
)
from tests.slow import slow_except

CONVOLUTIONS = (CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose1d, CoordConvTranspose2d, CoordConvTranspose3d)
COUNT = ("4", 2.0, None, True, [3], -1, float("nan"))
FLAG = ("yes", 2, None, 0.5, [], np.ones(2))
SIZES = ("x", 2.0, None, True, (2.0, 2.0, 2.0), (3,) * 4, [], -1, {})
MODULE = (None, "model", 3, nn.Linear, [nn.Conv2d(1, 1, 1)])
DTYPE = ("float32", 3, float, torch.int32, torch.bool, torch.float8_e4m3fn)
ENCODING = ("polar", Polar, nn.Identity(), 3)
CONVOLUTION = {
    "in_channels": COUNT,
    "out_channels": COUNT,
    "groups": (*COUNT, 0),
    "kernel_size": (*SIZES, 0),
    "stride": (*SIZES, 0),
    "dilation": (*SIZES, 0),
    "padding": tuple(value for value in SIZES if value != "x"),
    "bias": FLAG,
    "device": (3.5, [], True),
    "dtype": DTYPE,
    "with_r": FLAG,
    "encoding": ENCODING,
}
SCALING = {"align_corners": FLAG, "preserve_aspect": FLAG}
FRAME = {"origin": (0, 0), "size": (8, 8), "crop": (8, 8)}
WRONG = [
    *[(kind, {"in_channels": 2, "out_channels": 2, "kernel_size": 1}, CONVOLUTION) for kind in CONVOLUTIONS],
    *[
        (kind, {"in_channels": 2, "out_channels": 2, "kernel_size": 1}, {"output_padding": SIZES, "padding": ("same",)})
        for kind in CONVOLUTIONS[3:]
    ],
    (
        TiledCoordConv2d,
        {"in_channels": 2, "out_channels": 2, "size": 4},
        {"in_channels": COUNT, "out_channels": COUNT, "size": (*SIZES, 0), "bias": FLAG, "dtype": DTYPE},
    ),
    (AddCoords, {}, {"num_axes": (*COUNT, 0), "with_r": FLAG, "encoding": ENCODING}),
    *[(kind, {}, SCALING) for kind in (Cartesian, Polar, ConstantCoordinates)],
    (Cartesian, {}, {"with_r": FLAG}),
    (FourierFeatures, {}, {"num_frequencies": (*COUNT, 0, 25), "include_coordinates": FLAG, **SCALING}),
    (
        Sinusoidal,
        {},
        {"num_frequencies": (*COUNT, 0), "temperature": ("9", None, True, 1, -3.0, float("inf")), **SCALING},
    ),
    (
        LearnedGrid,
        {"channels": 2, "size": (2, 2)},
        {"channels": (*COUNT, 0), "size": (4, "ab", None, (), (2,) * 4, (0, 1), (2.0, 2), (True, 2)), **SCALING},
    ),
    (limit_coordinate_cache, {}, {"max_bytes": COUNT}),
    (
        to_coordconv,
        {"model": nn.Conv2d(1, 1, 1)},
        {"model": MODULE, "where": (3, None), "with_r": FLAG, "encoding": ENCODING},
    ),
    (from_coordconv, {"model": CoordConv2d(1, 1, 1)}, {"model": MODULE, "discard": FLAG}),
    (coordconv_layers, {}, {"model": MODULE}),
    (fold_coordconv, {"example_inputs": torch.zeros(1)}, {"model": MODULE}),
    (
        fuse_conv_bn,
        {"conv": nn.Conv2d(1, 1, 1).eval(), "bn": nn.BatchNorm2d(1).eval()},
        {"conv": MODULE, "bn": (*MODULE, nn.GroupNorm(1, 1))},
    ),
    (
        coordinate_frame,
        FRAME,
        {
            "origin": ("a", None, {}, ("a", "b"), 1j, torch.zeros(2, dtype=torch.complex64), (True, False)),
            "size": ("a", None, {}, ("a", "b"), (1j, 1j)),
            "crop": (8, None, "ab", (8.0, 8.0), ("8", "8")),
            "padded": FLAG,
            "strides": (2, None.__class__, "ab", ("1", "2"), (1j,)),
            "zero_outside": FLAG,
        },
    ),
    (coordinate_field, {}, {"values": (None, "x", 3.0, [[0.0]], torch.zeros(2, 3, dtype=torch.long))}),
]


def call(function, arguments):
    made = function(**arguments)
    if function in (coordinate_frame, coordinate_field):
        with made:
            pass


CASES = [
    (function, valid, name, value)
    for function, valid, wrong in WRONG
    for name, values in wrong.items()
    for value in values
]


@pytest.mark.parametrize(
    "function", dict.fromkeys(function for function, *_ in CASES), ids=lambda function: function.__name__
)
def test_a_wrong_argument_is_named_with_its_value(function):
    for kind, valid, name, value in CASES:
        if kind is not function:
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            call(function, {**valid, name: value})
        message = str(caught.value)
        shown = " ".join(repr(value).split())[:60]
        named = name if name != "values" else "coordinate field"
        assert re.search(rf"\b{named}\b", message), (name, value, message)
        known = [shown, str(value), type(value).__name__, *(str(getattr(value, key, "")) for key in ("dtype", "shape"))]
        assert any(entry and entry in message for entry in known), (name, value, message)
        assert "\n" not in message


def test_every_public_argument_is_covered():
    covered = {(function, name) for function, _, name, _ in CASES}
    unchecked = {"padding_mode", "example_inputs"}  # torch names the first; the second can be anything
    for name in layers.__all__:
        function = getattr(layers, name)
        for argument, parameter in inspect.signature(function).parameters.items():
            if function is layers.Encoding or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            assert (function, argument) in covered or argument in unchecked, (name, argument)


@pytest.mark.parametrize("value", [np.int64(3), (3, 3), [3, 3], torch.Size((3, 3)), (np.int64(3), 3)])
def test_integers_of_other_libraries_and_sequences_are_allowed(value):
    assert CoordConv2d(2, np.int32(4), value, padding=value)(torch.zeros(1, 2, 8, 8)).shape == (1, 4, 12, 12)
    assert TiledCoordConv2d(2, 4, value)(torch.zeros(5, 2)).shape == (5, 4, 3, 3)


@pytest.mark.parametrize(
    "module", [CoordConv2d(2, 3, 1), CoordConvTranspose2d(2, 3, 1), AddCoords(), TiledCoordConv2d(2, 3, 4)]
)
@pytest.mark.parametrize("value", [None, [[1.0]], np.zeros((1, 2, 4, 4), dtype="float32"), "x", 3.0])
def test_an_input_that_is_no_tensor_is_named(module, value):
    with pytest.raises(TypeError, match=f"{type(module).__name__} expects a tensor, but got .*{type(value).__name__}"):
        module(value)


def test_batch_norm_with_another_forward_is_not_fused():
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    with pytest.raises(TypeError, match="bn is a Activated, whose forward is not that of torch's batch norm"):
        fuse_conv_bn(CoordConv2d(2, 3, 1).eval(), Activated(3).eval())


class TestDtypes:
    """A weight of a dtype that torch convolves works on every route; others are refused."""

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
    @pytest.mark.parametrize("kind", slow_except([CoordConv2d], [CoordConv2d, CoordConvTranspose2d]))
    def test_complex_weights_agree_on_all_routes(self, kind, dtype):
        layer = kind(2, 3, 3, padding=1, dtype=dtype)
        x = torch.randn(2, 2, 6, 5, dtype=dtype)
        wanted = layer(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls complex modules new
            exported = torch.export.export(layer, (x,)).module()(x)
        for found in (exported, torch.func.vmap(layer)(x[None])[0], fold_coordconv(layer, x)(x)):
            torch.testing.assert_close(found, wanted)

    @pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
    def test_a_conversion_of_another_dtype_leaves_the_model_alone(self, dtype):
        model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1).to(dtype))
        with pytest.raises(TypeError, match=f"dtype must be one of torch.float16, .* got {dtype}"):
            to_coordconv(model, "all")
        assert not coordconv_layers(model)

    @pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
    def test_a_complex_learned_grid_is_refused(self):
        grid = LearnedGrid(2, (3, 3))
        for module in (CoordConv2d(2, 3, 1, encoding=grid), AddCoords(encoding=grid)):
            with pytest.raises(TypeError, match=r"a learned grid must be real, .* torch.complex64"):
                module.to(torch.complex64)(torch.zeros(1, 2, 4, 4, dtype=torch.complex64))
