"""Fixture that restores the level of Lightning's logger, which benchmarks change."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _level_of_lightnings_logger() -> Iterator[None]:
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    yield
    logger.setLevel(level)
