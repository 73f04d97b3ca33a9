"""Tests of the cache of coordinate grids: its limit, release, threads, and traces that leave it usable."""

import threading

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from lightning_coordconv.layers import (
    CoordConv2d,
    CoordConvTranspose2d,
    clear_coordinate_cache,
    limit_coordinate_cache,
)
from lightning_coordconv.layers.cache import CACHE
from tests.layers.test_coordinate_bias import CLOSE
from tests.slow import slow_except

from .oracle import expected


class TestCache:
    """Only what depends on geometry is kept: real tensors, up to a number of bytes."""

    @pytest.mark.parametrize("allow", [False, True])
    def test_fake_tensors_are_not_kept(self, allow):
        with FakeTensorMode(allow_non_fake_inputs=allow), torch.no_grad():
            assert CoordConv2d(3, 4, 3, padding=1)(torch.randn(2, 3, 16, 15)).shape == (2, 4, 16, 15)
        self.check()

    @pytest.mark.parametrize("mode", slow_except(["fake", "real"], ["fake", "real", "symbolic"]))
    def test_traces_leave_the_cache_usable(self, mode):
        make_fx(CoordConv2d(3, 4, 3, padding=1), tracing_mode=mode, _allow_non_fake_inputs=True)(
            torch.randn(2, 3, 16, 15)
        )
        self.check()

    def test_a_real_layer_in_a_fake_mode_leaves_the_cache_usable(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            layer(x)
        self.check()

    def test_transforms_devices_and_dtypes_leave_the_cache_usable(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        torch.func.vmap(layer)(x[None])
        with torch.device("meta"):
            CoordConv2d(3, 4, 3, padding=1)(torch.randn(2, 3, 16, 15))
            layer(x)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            layer(x)
        self.check()

    def check(self):
        assert all(type(tensor) is torch.Tensor for kept in CACHE.kept.values() for tensor in kept)
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
        layer(x).square().sum().backward()

    @pytest.mark.slow
    def test_has_a_bound(self):
        layer = CoordConv2d(1, 2, 3, padding=1)
        limit_coordinate_cache(60_000)
        for size in range(5, 60):
            x = torch.randn(1, 1, size, size)
            torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
            actual = sum(tensor.nbytes for kept in CACHE.kept.values() for tensor in kept)
            assert actual == CACHE.bytes <= 60_000
        assert len(CACHE.kept) > 1

    def test_a_table_beyond_the_bound_releases_nothing_else(self):
        limit_coordinate_cache(3_000)
        layer = CoordConv2d(1, 2, 3)
        layer(torch.randn(1, 1, 8, 8))
        kept = list(CACHE.kept)
        layer(torch.randn(1, 1, 20, 20))
        assert list(CACHE.kept) == kept != []

    def test_of_transposed_layers_is_used_again(self):
        layer = CoordConvTranspose2d(1, 2, 3)
        for _ in range(3):
            layer(torch.randn(1, 1, 5, 5))
        assert len(CACHE.kept) == 1

    def test_is_released(self):
        layer, x = CoordConv2d(1, 2, 3), torch.randn(1, 1, 9, 9)
        layer(x)
        assert CACHE.bytes > 0
        clear_coordinate_cache()
        assert (CACHE.bytes, len(CACHE.kept)) == (0, 0)
        assert CACHE.max_bytes == 64 << 20
        limit_coordinate_cache(0)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
        assert not CACHE.kept
        with pytest.raises(ValueError, match="max_bytes must be at least 0, but got -1"):
            limit_coordinate_cache(-1)

    def test_keeps_little_for_large_maps(self):
        """A ResNet's stem on 512 x 512 pixels keeps kilobytes, not a map."""
        with torch.no_grad():
            CoordConv2d(3, 64, 7, stride=2, padding=3)(torch.randn(1, 3, 512, 512))
        assert CACHE.bytes < 64 << 10

    @pytest.mark.slow
    def test_threads(self):
        limit_coordinate_cache(5_000)
        errors = []

        def run(seed):
            generator = torch.Generator().manual_seed(seed)
            layer = CoordConv2d(1, 2, 3, padding=1)
            for _ in range(40):
                x = torch.randn(1, 1, *torch.randint(3, 20, (2,), generator=generator).tolist())
                if not torch.allclose(layer(x).double(), expected(layer, x), **CLOSE):
                    errors.append(x.shape)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert CACHE.bytes <= 5_000
