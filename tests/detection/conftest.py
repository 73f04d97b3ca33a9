"""A fixture for tests of COCO files: a folder of two images."""

from pathlib import Path

import pytest

from tests.photographs import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, the second without objects, of 40 x 30 pixels."""
    for seed, name in enumerate("ab"):
        noise((40, 30), seed=seed).convert("RGB").save(tmp_path / f"{name}.png")
    return tmp_path
