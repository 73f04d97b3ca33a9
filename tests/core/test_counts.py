"""Tests of numbers in messages: one thing and several, and lists that are cut."""

import pytest

from lightning_coordconv.core.counts import count, listed


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [(1, "file", "1 file"), (0, "file", "0 files"), (2, "box", "2 boxes"), (3, "batch", "3 batches")],
)
def test_one_is_singular(number, what, text):
    assert count(number, what) == text


def test_a_list_is_right_for_any_number():
    assert listed("files that are no images", ["a"]) == "files that are no images (1): a"
    assert listed("files that are no images", range(4), most=2) == "files that are no images (4): 0, 1 and 2 more"
