"""Tests that Gymnasium spaces survive conversion to plain data, and that other kinds are refused."""

import io

import numpy as np
import pytest
import torch
from gymnasium import spaces

from lightning_coordconv.rl.spaces import check_observation, decode_space, encode_space


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (4, 8, 8), np.uint8),
        spaces.Box(np.float32([-1, -np.inf]), np.float32([1, np.inf])),
        spaces.Discrete(6),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
        spaces.MultiBinary(4),
        spaces.Dict(image=spaces.Box(0, 255, (3, 8, 8), np.uint8), speed=spaces.Discrete(3)),
    ],
    ids=str,
)
def test_round_trip(space):
    file = io.BytesIO()
    torch.save(encode_space(space), file)
    file.seek(0)
    back = decode_space(torch.load(file, weights_only=True))
    assert back == space
    assert back.dtype == space.dtype


def test_the_order_of_a_dict_is_kept():
    space = spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Box(0, 1, (2,)))])
    assert list(decode_space(encode_space(space)).spaces) == ["b", "a"]


def test_a_subclass_is_encoded_as_what_it_is():
    class Angles(spaces.Box):
        pass

    assert decode_space(encode_space(Angles(-1, 1, (2,)))) == spaces.Box(-1, 1, (2,))


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"agents support spaces of the kinds Box, .*, Dict, got Text"):
        encode_space(spaces.Text(3))


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 4, 3)])
def test_images_of_another_kind_of_numbers_are_refused(shape):
    images = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    for given in (np.zeros(shape, np.uint8), np.zeros(shape, np.int64), np.zeros(shape, int).tolist()):
        check_observation(images, given)
        check_observation(spaces.Dict(image=images), {"image": given})
    check_observation(spaces.Box(0, 1, (4, 4, 3)), np.zeros(shape))
    for space, given in ((images, np.zeros(shape)), (spaces.Dict(image=images), {"image": np.zeros(shape)})):
        with pytest.raises(ValueError, match=r"must have numbers of uint8, as Box.* has them, got float64"):
            check_observation(space, given)


@pytest.mark.parametrize(
    ("space", "given", "named"),
    [
        (spaces.Box(0, 1, (4, 4, 3)), np.full((4, 4, 3), np.nan), "nan"),
        (spaces.Box(0, 1, (4, 4, 3)), np.full((2, 3, 4, 4), 255), "255"),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), np.full((4, 4, 3), 256), "256"),
        (spaces.Box(-np.inf, np.inf, (2,)), [0.0, np.inf], "inf"),
        (spaces.Box(np.float32([-1, -5]), np.float32([1, 5])), [0, -6], "-6"),
    ],
    ids=["NaN", "not scaled", "too large", "infinite", "beyond all bounds"],
)
def test_numbers_that_a_space_does_not_have_are_refused(space, given, named):
    for box, observation in ((space, given), (spaces.Dict(a=space), {"a": given})):
        with pytest.raises(ValueError, match=rf"must have finite numbers of Box.*, got {named}"):
            check_observation(box, observation)
