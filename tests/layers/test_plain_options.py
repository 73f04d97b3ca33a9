"""Tests of the options of own encodings that state dicts record: plain values, also in lists, dicts and encodings."""

import numpy as np
import pytest
import torch

from lightning_coordconv.layers import CoordConv2d, Encoding, Polar


class Own(Encoding):
    """Has an option, and no text of its own."""

    def __init__(self, option) -> None:
        super().__init__()
        self.option = option

    def num_channels(self, num_axes):
        return num_axes

    def forward(self, grid):
        return grid


class Outer(Own):
    """Has the option in another encoding, and a text of its own."""

    def __init__(self, option) -> None:
        super().__init__(None)
        self.parts = torch.nn.ModuleList([Polar(), Own(option)])

    def extra_repr(self):
        return "own text"


OPTIONS = [
    ([1.0, 2.0], [8.0, 2.0]), ({"low": 1, "high": 2}, {"low": 1, "high": 3}), ({"rows": [1, None]}, {"rows": [1, 2]}),
    ((1, ["a", 2.0]), (1, ["b", 2.0])), ([np.float32(0.5)], [np.float32(0.25)]), (np.int64(3), np.int64(4)),
]  # fmt: skip


@pytest.mark.parametrize(("option", "another"), OPTIONS, ids=str)
@pytest.mark.parametrize("nested", [False, True], ids=["own", "nested"])
def test_weights_do_not_load_into_another_option(option, another, nested):
    layers = [CoordConv2d(1, 2, 3, encoding=(Outer if nested else Own)(o)) for o in (option, option, another)]
    layers[1].load_state_dict(layers[0].state_dict())
    with pytest.raises(RuntimeError, match=r"option=.* and sees .*option="):
        layers[2].load_state_dict(layers[0].state_dict())


@pytest.mark.parametrize(
    "cache", [torch.ones(2), [torch.ones(2)], {"grid": torch.ones(2)}, object()], ids=lambda value: type(value).__name__
)
def test_what_is_no_option_does_not_keep_weights_from_loading(cache):
    used, new = CoordConv2d(1, 2, 3, encoding=Own(3.0)), CoordConv2d(1, 2, 3, encoding=Own(3.0))
    used.encoding.cached = cache
    new.load_state_dict(used.state_dict())
    assert torch.equal(new.coord_weight, used.coord_weight)


@pytest.mark.parametrize(
    ("one", "other"),
    [([1, {"a": (2.0,)}], (np.int64(1), {"a": [np.float64(2)]})), (np.float32(0.5), 0.5)],
    ids=str,
)
def test_weights_load_however_an_equal_option_is_written(one, other):
    new, used = (CoordConv2d(1, 2, 3, encoding=Own(option)) for option in (one, other))
    new.load_state_dict(used.state_dict())
    assert torch.equal(new.coord_weight, used.coord_weight)


def test_weights_load_into_another_tensor_if_it_is_a_buffer_which_they_hold():
    """The way that the documentation names."""
    layers = [CoordConv2d(1, 2, 3, encoding=Own(None)) for _ in range(2)]
    for number, layer in enumerate(layers):
        layer.encoding.register_buffer("paces", torch.tensor([1.0, number]))
    layers[1].load_state_dict(layers[0].state_dict())
    assert torch.equal(layers[1].encoding.paces, layers[0].encoding.paces)


def test_the_text_is_made_only_where_it_is_needed():
    """Not as a layer runs: it costs time, and compilers cannot trace it."""

    class Counting(Own):
        def extra_repr(self):
            return pytest.fail("the text was made")

    layer, x = CoordConv2d(1, 2, 3, encoding=Counting(1)), torch.zeros(1, 1, 5, 5)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))
