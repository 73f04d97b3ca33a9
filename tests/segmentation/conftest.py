"""Fixtures of the segmentation tests."""

from pathlib import Path

import pytest

from tests.segmentation.masks import write_masks


@pytest.fixture(scope="session")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six photographs and their masks, of two sizes, with three classes."""
    return write_masks(tmp_path_factory.mktemp("masks"))
