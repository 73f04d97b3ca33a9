"""Fixtures for tests of the layers: an empty coordinate cache, a fresh compiler, three ways to compute the bias."""

import pytest
import torch
import torch.multiprocessing

from lightning_coordconv.layers import (
    clear_coordinate_cache,
    coordinate_bias,
    limit_coordinate_cache,
    taps,
)


@pytest.fixture(autouse=True)
def _empty_cache():
    clear_coordinate_cache()
    yield
    limit_coordinate_cache(64 << 20)


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["axes", "matrix", "grid"])
def form(request, monkeypatch):
    """Taps with a factor an axis, or with one matrix for all axes, or a convolution of the grid."""
    monkeypatch.setattr(taps, "MAX_WHOLE_ELEMENTS", 0 if request.param == "axes" else 1 << 13)
    monkeypatch.setattr(coordinate_bias, "MAX_GRID_PRODUCTS", 1 << 21 if request.param == "grid" else 0)
