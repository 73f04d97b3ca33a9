"""Tests that coordinate frames make tiles, crops and padded batches equal the full image at every depth and stride."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    FourierFeatures,
    coordinate_frame,
)
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


@pytest.mark.slow
@settings(max_examples=200)
@given(
    strides=st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=5),
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=5, max_size=5),
    padded=st.booleans(),
    crop=st.integers(1, 6),
    tiles=st.integers(0, 5),
)
def test_the_full_map_is_found_at_every_depth(strides, kernels, padded, crop, tiles):
    """Whatever the depth, offset and size of the full map are exact, for whole strides; or, not padded, refused."""
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
            try:
                first, found = active_frame().place((cells,), torch.device("cpu"), torch.float32)
            except ValueError as error:
                if padded or "looks like a total stride" not in str(error):
                    raise
            else:
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


def test_frames_do_not_depend_on_the_default_device():
    layer, x = CoordConv2d(1, 1, 1), torch.rand(1, 1, 8, 8)
    with coordinate_frame((2, 3), (16, 16), crop=(8, 8)):
        wanted = layer(x)
    with torch.device("meta"), coordinate_frame((2, 3), (16, 16), crop=(8, 8)):
        assert torch.equal(layer(x), wanted)
