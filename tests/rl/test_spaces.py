"""Spaces come back from plain data."""

import io

import numpy as np
import pytest
import torch
from gymnasium import spaces

from lightning_coordconv.rl.spaces import decode_space, encode_space


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (4, 8, 8), np.uint8),
        spaces.Box(np.float32([-1, -np.inf]), np.float32([1, np.inf])),
        spaces.Discrete(6),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
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


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="is a space of no kind that agents here know"):
        encode_space(spaces.Dict({"a": spaces.Discrete(2)}))
