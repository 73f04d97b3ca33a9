"""Functions for tests that encode and decode COCO's run lengths of masks, written from their description."""

import itertools

import numpy as np


def runs_of(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask (H, W), the first of zeros."""
    pixels = mask.T.ravel().astype(int).tolist()
    runs = [len(list(group)) for _, group in itertools.groupby(pixels)]
    return [0, *runs] if pixels[:1] == [1] else runs


def mask_of(runs: list[int], height: int, width: int) -> np.ndarray:
    pixels = [value % 2 for value, run in enumerate(runs) for _ in range(run)]
    return np.array(pixels, dtype=np.uint8).reshape(width, height).T


def compressed(runs: list[int]) -> str:
    """Return run lengths as a string: differences from the run two before, in signed groups of five bits."""
    text = ""
    for number, run in enumerate(runs):
        value, more = run - (runs[number - 2] if number > 2 else 0), True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + (32 if more else 0))
    return text
