"""Tests of coordinate frames and fields: tiles, crops, padded batches equal the full image; threads, tasks; errors."""

import asyncio
import contextlib
import math
import re
import threading

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    Encoding,
    FourierFeatures,
    LearnedGrid,
    coordinate_field,
    coordinate_frame,
)
from lightning_coordconv.layers._torch import TRACES_CONTEXT_VARIABLES
from lightning_coordconv.layers.frames import active_frame

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def hourglass(encoding=None):
    """Down to a stride of 4 and up to 2, padded; the receptive field reaches 11 pixels to either side at most."""
    torch.manual_seed(0)
    return nn.Sequential(
        CoordConv2d(3, 6, 3, padding=1, encoding=encoding),
        nn.Tanh(),
        CoordConv2d(6, 6, 3, stride=2, padding=1, with_r=encoding is None, encoding=encoding),
        nn.Tanh(),
        CoordConv2d(6, 8, 3, stride=2, padding=1, groups=2, encoding=encoding),
        nn.Tanh(),
        CoordConvTranspose2d(8, 4, 2, stride=2, encoding=encoding),
    )


def without_padding():
    """The NatureCNN of deep Q-learning: stride 8, no padding; 84 pixels give maps of 20, 9 and 7."""
    torch.manual_seed(0)
    return nn.Sequential(
        CoordConv2d(1, 4, 8, stride=4), nn.Tanh(), CoordConv2d(4, 4, 4, stride=2), nn.Tanh(), CoordConv2d(4, 4, 3)
    )


@pytest.mark.parametrize(
    "encoding",
    [
        None,
        Cartesian(align_corners=False),
        Cartesian(preserve_aspect=True, with_r=True),
        Cartesian(align_corners=False, preserve_aspect=True),
        FourierFeatures(2),
    ],
    ids=repr,
)
def test_tiles_equal_the_whole(encoding):
    net = hourglass(encoding).eval()
    image = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        whole = net(image)
        merged, naive = torch.zeros_like(whole), torch.zeros_like(whole)
        core, margin = 32, 12
        for top in range(0, 96, core):
            for left in range(0, 64, core):
                y0, x0 = max(top - margin, 0), max(left - margin, 0)
                y1, x1 = min(top + core + margin, 96), min(left + core + margin, 64)
                tile = image[:, :, y0:y1, x0:x1]
                with coordinate_frame((y0, x0), image.shape[-2:], crop=tile.shape[-2:]):
                    out = net(tile)
                i, j, half = (top - y0) // 2, (left - x0) // 2, core // 2  # the output has a stride of 2
                inside = (..., slice(i, i + half), slice(j, j + half))
                place = (..., slice(top // 2, top // 2 + half), slice(left // 2, left // 2 + half))
                merged[place], naive[place] = out[inside], net(tile)[inside]
    torch.testing.assert_close(merged, whole, **CLOSE)
    assert (naive - whole).abs().max() > 0.05


def test_tiles_equal_the_whole_without_padding():
    net = without_padding()
    image = torch.randn(1, 1, 148, 180)
    whole = net(image)
    for top in range(0, 148 - 84 + 1, 32):
        for left in range(0, 180 - 84 + 1, 32):
            with coordinate_frame((top, left), (148, 180), crop=(84, 84)):
                out = net(image[:, :, top : top + 84, left : left + 84])
            torch.testing.assert_close(out, whole[:, :, top // 8 : top // 8 + 7, left // 8 : left // 8 + 7], **CLOSE)


@pytest.mark.parametrize("net_class", [CoordConv1d, CoordConv3d])
def test_tiles_in_other_dimensions(net_class):
    torch.manual_seed(0)
    n = int(net_class.__name__[-2])
    net = nn.Sequential(net_class(2, 3, 3, stride=2, padding=1), nn.Tanh(), net_class(3, 2, 1, with_r=True))
    volume = torch.randn(1, 2, *(16, 12, 20)[:n])
    origin, crop = (4, 0, 8)[:n], (8, 12, 8)[:n]
    tile = volume[(..., *(slice(o, o + c) for o, c in zip(origin, crop, strict=True)))]
    with coordinate_frame(origin, volume.shape[2:], crop=crop):
        out = net(tile)
    whole = net(volume)[(..., *(slice(o // 2, (o + c) // 2) for o, c in zip(origin, crop, strict=True)))]
    # the first cell of a tile that begins inside has padding where the whole has pixels
    inner = (..., *(slice(1 if o else 0, None) for o in origin))
    torch.testing.assert_close(out[inner], whole[inner], **CLOSE)


def test_random_crops_of_each_sample():
    net = hourglass()
    images = torch.randn(4, 3, 64, 80)
    origins = torch.tensor([[0, 0], [16, 4], [28, 40], [32, 48]])
    places = [(slice(None), slice(y, y + 32), slice(x, x + 32)) for y, x in origins.tolist()]
    crops = torch.stack([image[place] for image, place in zip(images, places, strict=True)])
    with coordinate_frame(origins, (64, 80), crop=(32, 32)):
        out = net(crops)
    for image, (y, x), crop in zip(images, origins.tolist(), out, strict=True):
        whole = net(image[None])[0]
        inner = (..., slice(6, 10), slice(6, 10))  # beyond the reach of the crop's borders
        torch.testing.assert_close(crop[inner], whole[:, y // 2 : y // 2 + 16, x // 2 : x // 2 + 16][inner], **CLOSE)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_padded_images_do_not_depend_on_their_batch_mates():
    """As torchvision's detectors batch them; 1x1 convolutions, so that only the coordinates could tell."""
    torch.manual_seed(0)
    net = nn.Sequential(CoordConv2d(3, 4, 1, stride=4), nn.Tanh(), CoordConv2d(4, 4, 1, stride=8, with_r=True))
    sizes = [(64, 64), (50, 75), (33, 128)]  # not all multiples of the stride
    images = [torch.randn(3, *size) for size in sizes]
    canvas = torch.zeros(3, 3, 64, 128)
    for pad, image in zip(canvas, images, strict=True):
        pad[:, : image.shape[1], : image.shape[2]] = image
    with coordinate_frame((0, 0), sizes, crop=canvas.shape[-2:], padded=True):
        out = net(canvas)
    for padded, image in zip(out, images, strict=True):
        alone = net(image[None])[0]
        torch.testing.assert_close(padded[:, : alone.shape[1], : alone.shape[2]], alone, **CLOSE)


def test_coordinates_run_on_in_the_padding():
    with coordinate_frame((0,), [(3,), (5,)], crop=(5,), padded=True):
        out = AddCoords(1)(torch.zeros(2, 1, 5))[:, 1]
    assert out.tolist() == [[-1, 0, 1, 2, 3], [-1, -0.5, 0, 0.5, 1]]
    with coordinate_frame((-1,), (3,), crop=(5,), padded=True):
        assert AddCoords(1)(torch.zeros(1, 5))[1].tolist() == [-2, -1, 0, 1, 2]


def test_coordinates_are_zero_outside_of_the_image_on_request():
    with coordinate_frame((0,), [(3,), (5,)], crop=(5,), padded=True, zero_outside=True):
        out = AddCoords(1, with_r=True)(torch.zeros(2, 1, 5))[:, 1:]
    assert out.tolist() == [[[-1, 0, 1, 0, 0], [1, 0, 1, 0, 0]], [[-1, -0.5, 0, 0.5, 1], [1, 0.5, 0, 0.5, 1]]]
    with coordinate_frame((-1,), (3,), crop=(5,), padded=True, zero_outside=True):
        assert AddCoords(1)(torch.zeros(1, 5))[1].tolist() == [0, -1, 0, 1, 0]


def test_a_padded_image_has_the_border_that_it_has_alone():
    layer = CoordConv2d(3, 4, 5, stride=2, padding=2, with_r=True)
    nn.init.zeros_(layer.weight)
    sizes = [(16, 16), (9, 13)]
    with coordinate_frame((0, 0), sizes, crop=(16, 24), padded=True, zero_outside=True):
        out = layer(torch.zeros(2, 3, 16, 24))
    for padded, (height, width) in zip(out, sizes, strict=True):
        alone = layer(torch.zeros(1, 3, height, width))[0]
        torch.testing.assert_close(padded[:, : alone.shape[1], : alone.shape[2]], alone, **CLOSE)


def test_half_pixel_and_aspect():
    half, aspect = Cartesian(align_corners=False), Cartesian(preserve_aspect=True)
    with coordinate_frame((2, 0), (8, 4), crop=(2, 4)):
        rows = AddCoords(encoding=half)(torch.zeros(1, 1, 2, 4))[0, 1, :, 0]
        columns = AddCoords(encoding=aspect)(torch.zeros(1, 1, 2, 4))[0, 2, 0]
    assert rows.tolist() == [-0.375, -0.125]
    torch.testing.assert_close(columns, torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 7)


def map_sizes(size, layers):
    sizes = [size]
    for kernel, stride, padding in layers:
        sizes.append((sizes[-1] + 2 * padding - kernel) // stride + 1)
    return sizes


@settings(max_examples=200)
@given(
    strides=st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=5),
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=5, max_size=5),
    padded=st.booleans(),
    crop=st.integers(1, 6),
    tiles=st.integers(0, 5),
)
def test_the_full_map_is_found_at_every_depth(strides, kernels, padded, crop, tiles):
    """Whatever the depth, offset and size of the full map are exact, for whole strides, padded or not."""
    kernels = [max(kernel, stride) for kernel, stride in zip(kernels, strides, strict=False)]
    layers = [(k, s, k // 2 if padded and k % 2 else 0) for k, s in zip(kernels, strides, strict=True)]
    total = torch.tensor(strides).prod().item()
    crop, size = total * crop * 4, total * (crop * 4 + tiles)
    crop_maps, full_maps = map_sizes(crop, layers), map_sizes(size, layers)
    stride = 1
    with coordinate_frame((size - crop,), (size,), crop=(crop,)):
        for depth, (cells, full) in enumerate(zip(crop_maps, full_maps, strict=True)):
            stride = stride if depth == 0 else stride * strides[depth - 1]
            if cells <= max(2, crop / stride / 2):
                break  # half of the map lost, or too small a map to tell: the documented limit
            first, found = active_frame().place((cells,), torch.device("cpu"), torch.float32)
            assert (first.item(), found.item()) == ((size - crop) / stride, full)


def test_other_strides():
    frame = {"size": (300,), "crop": (60,), "origin": (180,)}
    layer = nn.Sequential(nn.MaxPool1d(3), nn.MaxPool1d(5), AddCoords(1))
    whole = layer(torch.zeros(1, 1, 300))[0, 1]
    with coordinate_frame(**frame, strides=(15, 3, 1)):
        torch.testing.assert_close(layer(torch.zeros(1, 1, 60))[0, 1], whole[12:16])
    with coordinate_frame(**frame):
        assert (layer(torch.zeros(1, 1, 60))[0, 1] - whole[12:16]).abs().max() > 0.01


def test_upsampled_maps():
    up = nn.Sequential(nn.Upsample(scale_factor=4), AddCoords(1))
    whole = up(torch.zeros(1, 1, 16))[0, 1]
    with coordinate_frame((6,), (16,), crop=(8,)):
        torch.testing.assert_close(up(torch.zeros(1, 1, 8))[0, 1], whole[24:56])


def test_an_origin_between_cells():
    """A crop that begins in the middle of a stride falls between the cells of the full map."""
    strided = nn.Sequential(nn.MaxPool1d(4), AddCoords(1))
    whole = strided(torch.zeros(1, 1, 64))[0, 1]
    with coordinate_frame((10,), (64,), crop=(16,)):
        torch.testing.assert_close(strided(torch.zeros(1, 1, 16))[0, 1], (whole[2:6] + whole[3:7]) / 2)


def test_unbatched_and_one_sample():
    layer, image = CoordConv2d(3, 4, 1), torch.randn(3, 16, 16)
    with coordinate_frame(torch.tensor([[4, 8]]), (16, 16), crop=(8, 8)):
        torch.testing.assert_close(layer(image[:, 4:12, 8:]), layer(image[None, :, 4:12, 8:])[0])
        torch.testing.assert_close(AddCoords()(image[:, 4:12, 8:]), AddCoords()(image[None, :, 4:12, 8:])[0])
    torch.testing.assert_close(AddCoords()(image)[:, 4:12, 8:][3:], AddCoords()(image)[3:, 4:12, 8:])


def test_frames_nest_and_end():
    coords, x = AddCoords(1), torch.zeros(1, 1, 4)
    plain = coords(x)
    with coordinate_frame((4,), (8,), crop=(4,)):
        outer = coords(x)
        with coordinate_frame((0,), (8,), crop=(4,)):
            assert not torch.equal(coords(x), outer)
        assert torch.equal(coords(x), outer)
        with pytest.raises(RuntimeError, match="inside"), coordinate_frame((1,), (8,), crop=(4,)):
            raise RuntimeError("inside")
        assert torch.equal(coords(x), outer)
    assert torch.equal(coords(x), plain)
    assert active_frame() is None


def test_frames_belong_to_their_thread():
    seen = []
    with coordinate_frame((4,), (8,), crop=(4,)):
        thread = threading.Thread(target=lambda: seen.append(active_frame()))
        thread.start()
        thread.join()
    assert seen == [None]


class TestConcurrency:
    """Blocks belong to the task and thread that enters them; what cannot be right is refused."""

    LAYER = AddCoords(1)

    @classmethod
    def first(cls):
        return cls.LAYER(torch.zeros(1, 1, 4))[0, 1, 0].item()

    @pytest.mark.parametrize("delays", [(0.02, 0.04), (0.04, 0.02), (0.0, 0.0)])
    def test_asyncio_tasks(self, delays):
        seen = {}

        async def tile(origin, delay):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                await asyncio.sleep(delay)
                seen[origin] = self.first()
                await asyncio.sleep(delay)

        async def outside():
            await asyncio.sleep(0.01)
            seen["outside"] = self.first()

        async def main():
            await asyncio.gather(tile(0, delays[0]), tile(4, delays[1]), outside())

        asyncio.run(main())
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7), "outside": -1.0}
        assert self.first() == -1.0
        assert active_frame() is None

    def test_work_that_a_task_gives_to_a_thread_keeps_its_block(self):
        async def main():
            with coordinate_frame((4,), (8,), crop=(4,)):
                return await asyncio.to_thread(self.first)

        assert asyncio.run(main()) == pytest.approx(1 / 7)

    def test_threads_in_turn(self):
        seen = {}
        barrier = threading.Barrier(2)

        def run(origin):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                barrier.wait()
                seen[origin] = self.first()
                barrier.wait()

        threads = [threading.Thread(target=run, args=(origin,)) for origin in (0, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7)}

    def test_a_generator_serves_its_consumer(self):
        def tiles():
            for origin in (0, 4):
                with coordinate_frame((origin,), (8,), crop=(4,)):
                    yield origin

        assert {origin: self.first() for origin in tiles()} == {0: -1.0, 4: pytest.approx(1 / 7)}
        assert active_frame() is None

    def test_generators_that_interleave_are_refused(self):
        def tiles(origin):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                yield origin

        one, other = tiles(0), tiles(4)
        next(one)
        next(other)
        with pytest.raises(RuntimeError, match="while another one was active: blocks must be left in reverse"):
            next(one)
        with pytest.raises(RuntimeError, match="left while another one was active"):
            next(other)
        assert active_frame() is None
        assert self.first() == -1.0

    def test_a_block_left_in_another_task_is_refused(self):
        block = coordinate_frame((4,), (8,), crop=(4,))

        async def enter():
            block.__enter__()

        async def leave():
            block.__exit__(None, None, None)

        async def main():
            await asyncio.create_task(enter())
            await asyncio.create_task(leave())

        with pytest.raises(RuntimeError, match="in the task and thread that entered"):
            asyncio.run(main())
        assert active_frame() is None

    def test_a_decorator_serves_functions_and_refuses_what_runs_later(self):
        frame = coordinate_frame((4,), (8,), crop=(4,))
        assert [frame(self.first)(), frame(self.first)()] == [pytest.approx(1 / 7)] * 2

        async def coroutine():
            return self.first()

        def generator():
            yield self.first()

        async def both():
            yield self.first()

        for function in (coroutine, generator, both):
            for block in (frame, coordinate_field(torch.zeros(1, 4))):
                with pytest.raises(TypeError, match=f"cannot decorate .*{function.__name__}, a coroutine or generator"):
                    block(function)

    def test_a_block_that_is_active_is_not_entered_again(self):
        frame = coordinate_frame((4,), (8,), crop=(4,))
        with frame, pytest.raises(RuntimeError, match="is active already: make another one"), frame:
            pass
        with frame:
            assert self.first() == pytest.approx(1 / 7)
        assert active_frame() is None

    def test_positions_are_those_of_the_call(self):
        origin = torch.tensor([4.0])
        with coordinate_frame(origin, (8,), crop=(4,)):
            origin.zero_()
            assert self.first() == pytest.approx(1 / 7)

    def test_compiled_code_in_two_tasks(self):
        """Torch 2.11 cannot read a context variable in compiled code; there tasks have to take turns."""
        if not TRACES_CONTEXT_VARIABLES:
            pytest.skip("compiled code sees the block of the thread with this version of torch")
        torch._dynamo.reset()
        compiled = torch.compile(self.LAYER, fullgraph=True, backend="eager")
        seen = {}

        async def tile(origin, delay):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                await asyncio.sleep(delay)
                seen[origin] = compiled(torch.zeros(1, 1, 4))[0, 1, 0].item()

        async def main():
            await asyncio.gather(tile(0, 0.02), tile(4, 0.04))
            seen["outside"] = compiled(torch.zeros(1, 1, 4))[0, 1, 0].item()

        asyncio.run(main())
        torch._dynamo.reset()
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7), "outside": -1.0}


def test_activation_checkpointing():
    """The way that the documentation shows: the block again, for the second run."""
    net, x = hourglass(), torch.randn(2, 3, 16, 16)

    def frame():
        return coordinate_frame((16, 0), (64, 64), crop=(16, 16))

    with frame():
        net(x).square().sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    with frame():
        out = checkpoint(net, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), frame()))
    out.square().sum().backward()
    for p, grad in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_a_frame_of_each_sample_within_vmap():
    layer, x = CoordConv2d(2, 3, 3, padding=1), torch.randn(4, 2, 8, 8)
    origins = torch.tensor([[0, 0], [8, 8], [3, 5], [1, 2]])

    def run(sample, origin):
        with coordinate_frame(origin, (16, 16), crop=(8, 8)):
            return layer(sample)

    with coordinate_frame(origins, (16, 16), crop=(8, 8)):
        expected = layer(x)
    torch.testing.assert_close(torch.func.vmap(run)(x, origins), expected)


class TestErrors:
    @pytest.mark.parametrize(
        ("origin", "size", "options", "match"),
        [
            (
                (0, 0),
                (8, 8),
                {"crop": (8,)},
                r"origin must have shape \(1,\) or \(B, 1\) for crop=\(8,\), but has \(2,\)",
            ),
            ((0, 0), (8, 8, 8), {"crop": (8, 8)}, r"size must have shape \(2,\) or \(B, 2\) .* but has \(3,\)"),
            ([(0, 0)] * 2, [(8, 8)] * 3, {"crop": (8, 8)}, "origin is of 2 samples, but size of 3"),
            (
                (0, 0),
                (0, 8),
                {"crop": (8, 8)},
                r"size must be positive .* but got \[\[0.0, 8.0\]\]",
            ),
            ((0, 0), (-4, 8), {"crop": (8, 8), "padded": True}, r"size must be positive .* \[\[-4.0, 8.0\]\]"),
            (
                (0, 0),
                (29.5, 30),
                {"crop": (8, 8)},
                r"size must be positive and finite, whole.* but got \[\[29.5, 30.0\]\]",
            ),
            ((0, 0), (8, 8), {"crop": (8, 0)}, r"crop must be positive along every axis, but got \(8, 0\)"),
            ((), (), {"crop": ()}, r"crop must be positive along every axis, but got \(\)"),
            (
                (1, 0),
                (8, 8),
                {"crop": (8, 8)},
                r"crop of \(8, 8\) at origin \[\[1.0, 0.0\]\] is not inside .* \[\[8.0, 8.0\]\]",
            ),
            ((0, -1), (9, 9), {"crop": (8, 8)}, r"origin \[\[0.0, -1.0\]\] is not inside an image .*pass padded=True"),
            (
                (0, 0),
                (8, 8),
                {"crop": (8, 8), "strides": ()},
                r"strides must be positive and finite, and at least one, but got \(\)",
            ),
            ((0, 0), (8, 8), {"crop": (8, 8), "strides": (1, 0)}, r"strides must be positive .* got \(1, 0\)"),
            (
                (0, 0),
                (8, 8),
                {"crop": (8, 8), "strides": (1, math.nan)},
                r"strides must be positive and finite.* nan\)",
            ),
        ],
    )
    def test_frame(self, origin, size, options, match):
        with pytest.raises(ValueError, match=match), coordinate_frame(origin, size, **options):
            pass
        assert active_frame() is None

    def test_axes(self):
        with (
            coordinate_frame((0,), (8,), crop=(8,)),
            pytest.raises(ValueError, match=r"the coordinate frame has 1 axes \(crop=\(8,\)\), but the layer has 2"),
        ):
            CoordConv2d(1, 1, 1)(torch.zeros(1, 1, 8, 8))

    @pytest.mark.parametrize("layer", [CoordConv2d(1, 1, 1), AddCoords()])
    @pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 8, 8), (1, 1, 8, 8)])
    def test_samples(self, layer, shape):
        with (
            coordinate_frame([(0, 0), (1, 0), (2, 0)], (16, 16), crop=(8, 8)),
            pytest.raises(ValueError, match=f"frame is of 3 samples, but the input has {2 if shape[0] == 2 else 1}"),
        ):
            layer(torch.zeros(shape))

    @pytest.mark.parametrize(
        ("values", "kind"), [(torch.ones(2, 3, dtype=torch.long), "torch.int64"), ([[0.0]], "list")]
    )
    def test_field_type(self, values, kind):
        match = f"must be a floating-point tensor, but got {kind}"
        with pytest.raises(TypeError, match=match), coordinate_field(values):
            pass

    def test_field_shape(self):
        for shape in [(3, 4, 4), (1, 3, 4, 4), (4, 4), (1, 1, 2, 4, 4)]:
            match = rf"n = 2, but the coordinate field has shape \({', '.join(map(str, shape))}\)"
            with coordinate_field(torch.zeros(shape)), pytest.raises(ValueError, match=match):
                AddCoords()(torch.zeros(1, 1, 4, 4))


class TestField:
    def test_at_input_resolution(self):
        metres = torch.rand(2, 5, 6) * 10
        x = torch.randn(3, 1, 5, 6)
        with coordinate_field(metres):
            out = AddCoords(with_r=True)(x)
        assert torch.equal(out[:, 1:3], metres.expand(3, 2, 5, 6))
        torch.testing.assert_close(out[:, 3], metres.square().sum(0).sqrt().expand(3, 5, 6))

    def test_of_each_sample(self):
        metres = torch.rand(3, 2, 5, 6)
        with coordinate_field(metres):
            assert torch.equal(AddCoords()(torch.randn(3, 1, 5, 6))[:, 1:], metres)
            with pytest.raises(ValueError, match="frame is of 3 samples, but the input has 2"):
                AddCoords()(torch.randn(2, 1, 5, 6))

    @pytest.mark.parametrize("align_corners", [True, False])
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_resampled_like_interpolate(self, n, align_corners):
        field = torch.randn(2, n, *(9, 8, 7)[:n])
        size = (4, 11, 3)[:n]
        with coordinate_field(field):
            out = AddCoords(n, encoding=Cartesian(align_corners=align_corners))(torch.zeros(2, 1, *size))[:, 1:]
        mode = ("linear", "bilinear", "trilinear")[n - 1]
        torch.testing.assert_close(out, nn.functional.interpolate(field, size, mode=mode, align_corners=align_corners))

    def test_one_cell_is_the_middle(self):
        with coordinate_field(torch.tensor([[0.0, 1.0, 5.0]])):
            assert AddCoords(1)(torch.zeros(1, 1))[1].tolist() == [1.0]

    def test_the_default_grid_as_a_field_changes_nothing(self):
        net, x = hourglass(), torch.randn(2, 3, 33, 17)  # sizes that every stride divides, less one
        grid = AddCoords()(x)[0, 3:]
        with coordinate_field(grid):
            inside = net[:5](x)
        torch.testing.assert_close(inside, net[:5](x), **CLOSE)

    def test_learnable_coordinates_get_gradients(self):
        field = torch.randn(2, 4, 4, requires_grad=True)
        with coordinate_field(field):
            CoordConv2d(1, 2, 3)(torch.zeros(2, 1, 4, 4)).sum().backward()
        assert field.grad.abs().min() > 0

    def test_an_encoding_that_works_in_place_leaves_the_values_alone(self):
        class Doubled(Cartesian):
            def forward(self, grid):
                return grid.mul_(2)

        metres, layer = torch.rand(2, 4, 4), AddCoords(encoding=Doubled())
        before = metres.clone()
        with coordinate_field(metres):
            outputs = [layer(torch.zeros(1, 4, 4))[1:] for _ in range(2)]
        assert torch.equal(metres, before)
        assert all(torch.equal(out, 2 * before) for out in outputs)

    def test_half_precision_values(self):
        with coordinate_field(torch.rand(2, 4, 4).half()):
            assert CoordConv2d(1, 2, 3)(torch.zeros(2, 1, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_frames_that_are_not_finite_are_refused(number):
    for origin, size, name in (((0, number), (16, 16), "origin"), ((0, 0), (16, number), "size")):
        with (
            pytest.raises(ValueError, match=f"{name} must be .*finite"),
            coordinate_frame(origin, size, crop=(8, 8), padded=True),
        ):
            pass


def test_frames_do_not_depend_on_the_default_device():
    layer, x = CoordConv2d(1, 1, 1), torch.rand(1, 1, 8, 8)
    with coordinate_frame((2, 3), (16, 16), crop=(8, 8)):
        wanted = layer(x)
    with torch.device("meta"), coordinate_frame((2, 3), (16, 16), crop=(8, 8)):
        assert torch.equal(layer(x), wanted)


def test_copies_for_the_threads_of_data_parallel_are_refused_in_a_frame():
    layer = CoordConv2d(1, 1, 1)
    assert isinstance(layer._replicate_for_data_parallel(), CoordConv2d)
    with coordinate_frame((0, 0), (8, 8), crop=(8, 8)), pytest.raises(RuntimeError, match="DataParallel runs the mod"):
        layer._replicate_for_data_parallel()


class TestWrongCrops:
    """A crop that is not that of the network's input, or not inside the image, is refused and not guessed around."""

    @pytest.mark.parametrize(
        ("crop", "input", "strides"),
        [
            ((32, 32), (48, 48), None),  # scaled by 3/2 after it was cropped
            ((32, 64), (64, 32), None),  # height and width exchanged
            ((32, 32), (16, 64), None),
            ((8, 8), (24, 24), None),  # upsampled by 3
            ((32, 32), (64, 64), (1, 2)),  # finer than the finest stride
        ],
    )
    def test_a_map_that_no_such_crop_gives_is_refused(self, crop, input, strides):
        with (
            coordinate_frame((0, 0), (64, 64), crop=crop, strides=strides),
            pytest.raises(ValueError, match=rf"a map of \({input[0]}, {input[1]}\) cells .* crop is \({crop[0]}, "),
        ):
            CoordConv2d(1, 1, 3, padding=1)(torch.zeros(1, 1, *input))

    def test_a_named_stride_allows_what_is_no_power_of_two(self):
        up = nn.Sequential(nn.Upsample(scale_factor=3), AddCoords(1))
        whole = up(torch.zeros(1, 1, 16))[0, 1]
        with coordinate_frame((6,), (16,), crop=(8,), strides=(1 / 3, 1)):
            torch.testing.assert_close(up(torch.zeros(1, 1, 8))[0, 1], whole[18:42])

    @pytest.mark.parametrize("wrong", [torch.tensor(float("nan")), torch.tensor(8.5), torch.tensor(True), True, -8, 0])
    def test_a_crop_that_is_no_positive_integer_is_refused(self, wrong):
        with (
            pytest.raises((TypeError, ValueError), match="crop must be"),
            coordinate_frame((0, 0), (16, 16), crop=(wrong, 8)),
        ):
            pass

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
    def test_a_crop_outside_is_refused_whatever_the_dtype(self, dtype):
        origin = torch.tensor([200, 200]).to(dtype)
        with (
            pytest.raises(ValueError, match="is not inside an image of"),
            coordinate_frame(origin, (256, 256), crop=(100, 100)),
        ):
            pass

    @pytest.mark.parametrize(("origin", "size"), [((2**62, 0), (2**62, 64)), ((0, 0), (1e30, 64))])
    def test_sizes_whose_cells_float32_cannot_tell_apart_are_refused(self, origin, size):
        with (
            pytest.raises(ValueError, match="at most 16777216 cells"),
            coordinate_frame(origin, size, crop=(8, 8), padded=True),
        ):
            pass


class TestCoordinatesThatAreNotFinite:
    """NaN and infinite coordinates are refused where they enter: in a field, or in what an encoding returns."""

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
    def test_of_a_field(self, number):
        values = torch.zeros(2, 4, 4, dtype=torch.float64)
        values[1, 2, 3] = number
        with (
            pytest.raises(ValueError, match=f"a coordinate field must be finite .*{re.escape(str(number))}"),
            coordinate_field(values),
        ):
            pass

    def test_a_field_without_values(self):
        with pytest.raises(ValueError, match="must have values"), coordinate_field(torch.zeros(2, 0, 4)):
            pass

    @pytest.mark.parametrize("module", [AddCoords, lambda encoding: CoordConv2d(1, 1, 1, encoding=encoding)])
    def test_of_the_parameters_of_an_encoding(self, module):
        grid = LearnedGrid(2, (3, 3))
        layer = module(encoding=grid)
        with torch.no_grad():
            grid.values[0, 1, 1] = float("nan")
        with pytest.raises(ValueError, match=r"what LearnedGrid.* returns must be finite .*nan"):
            layer(torch.zeros(1, 1, 5, 5))

    def test_of_what_an_encoding_of_the_user_returns(self):
        class Logarithm(Encoding):
            def num_channels(self, num_axes):
                return num_axes

            def forward(self, grid):
                return (grid + 1).log()

        with pytest.raises(ValueError, match=r"what Logarithm.* returns must be finite in float32, but holds -inf"):
            AddCoords(encoding=Logarithm())(torch.zeros(1, 1, 4, 4))
