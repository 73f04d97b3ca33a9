"""Tests that values, arrays and random generators survive conversion to plain data; other objects are refused."""

import io
import itertools

import numpy as np
import pytest
import torch

from lightning_coordconv.core.state_codec import decode_state, encode_state


def through_a_file(value):
    file = io.BytesIO()
    torch.save(encode_state(value), file)
    file.seek(0)
    return decode_state(torch.load(file, weights_only=True))


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2**200, 0.5, "text", b"bytes\x00", [1, ("a", None)], {"a": {"b": [1.5]}},
     np.float32(1.5), np.int64(-3), np.bool_(True)],
    ids=repr,
)  # fmt: skip
def test_values(value):
    back = through_a_file(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int64", "float32", "float64", "bool"]
)
def test_arrays(dtype):
    array = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    back = through_a_file([array, array.T])
    for mine, theirs in zip(back, (array, array.T), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_arrays_keep_their_order_in_memory(axes):
    """A convolution sums in the order of its input's memory: another order would round otherwise."""
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    back = through_a_file(array)
    np.testing.assert_array_equal(back, array)
    assert back.strides == array.strides


def test_copies():
    array, tensor = np.zeros(2), torch.zeros(2)
    plain = encode_state([array, tensor])
    array += 1
    tensor += 1
    assert not decode_state(plain)[0].any()
    assert not plain[1].any()


@pytest.mark.parametrize("generator", [np.random.default_rng(5), np.random.Generator(np.random.MT19937(5))])
def test_generators_go_on(generator):
    generator.random(7)
    back = through_a_file(generator)
    np.testing.assert_array_equal(back.random(9), generator.random(9))


def test_other_things_are_refused():
    with pytest.raises(TypeError, match=r"a builtins\.object cannot be converted to plain data"):
        encode_state([object()])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"numpy.ndarray": torch.zeros(2, dtype=torch.int64), "numpy.dtype": "|O"}, "an array of object is not plain"),
        ({"numpy.random.Generator": {"bit_generator": "seed"}}, "bit_generator must be one of .*, got 'seed'"),
    ],
)
def test_made_up_state_is_refused(state, message):
    with pytest.raises(TypeError, match=message):
        decode_state(state)
