"""Fixture with two folders for tests: one of an image, and one for its label mask."""

import pytest

from tests.photographs import noise


@pytest.fixture
def pair(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    noise((12, 10)).convert("RGB").save(tmp_path / "images" / "a.jpg")
    return tmp_path
