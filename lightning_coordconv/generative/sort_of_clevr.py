"""Data set of two-object Sort-of-CLEVR: images of a blue and a red object on white, each a square or a circle."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor
from torch.utils.data import Dataset

Shape = Literal["square", "circle"]
SHAPES: tuple[Shape, ...] = ("square", "circle")
SPLITS = ("train", "val", "test")
CHUNK = 256
"""Number of images drawn at a time; their masks fit into the cache."""


class SortOfClevr(Dataset[dict[str, Tensor]]):
    """The images of the paper's GAN (section 5.3), drawn as the authors' generator draws them.

    Each image has a blue object and a red one that is painted over it. Each is, with equal probability, a square of
    side ``2 * radius + 1`` or a filled circle of that diameter. Centres are uniform over the positions where the object
    lies on the canvas; the red one is drawn again until it is at least ``2 * radius`` away from the blue one. (Two
    squares can still overlap at a corner.) The authors' images are unseeded; these depend only on the arguments.

    A sample, or a batch of samples for a list of indices, is a dict with

    ========  =======  ===========  ========================================================================
    key       dtype    shape        meaning
    ========  =======  ===========  ========================================================================
    image     float32  (3, H, W)    RGB in [-1, 1], channels last in memory
    centre    int64    (2, 2)       (x, y) in pixels of the blue and of the red object; x counts columns
    circle    bool     (2,)         whether the blue and the red object are circles
    ========  =======  ===========  ========================================================================

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``, each with a separate random stream.
        count: number of images, at least 1.
        canvas: height and width in pixels.
        radius: half the side of a square and the radius of a circle, without the pixel in the middle; at least 1.
        shapes: the shapes of objects, one or both of ``"square"`` and ``"circle"``.
        seed: fixes the images.

    Attributes:
        images: all images (N, 3, H, W), uint8.

    Raises:
        ValueError: for an unknown split or shape, numbers out of range, or a canvas too small for two objects.
    """

    def __init__(
        self,
        split: Literal["train", "val", "test"],
        count: int = 50_000,
        canvas: int = 64,
        radius: int = 10,
        shapes: Sequence[Shape] = SHAPES,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        if not shapes or not set(shapes) <= set(SHAPES) or len(set(shapes)) < len(shapes):
            raise ValueError(f"shapes must be one or more of {SHAPES}, all different, got {shapes!r}")
        for name, value in (("count", count), ("radius", radius)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        least = 2 * radius + 2 * math.ceil(math.sqrt(2) * radius)  # a blue object in the middle leaves the corners
        if canvas < least:
            raise ValueError(f"canvas must be at least {least} for two objects of radius {radius}, got {canvas}")
        self.canvas = canvas
        self.radius = radius
        generator = Generator().manual_seed(seed + 1_000_003 * SPLITS.index(split))
        self.centres = _place(count, canvas, radius, generator)
        kinds = torch.tensor([shape == "circle" for shape in shapes])
        self.circles = kinds[torch.randint(len(kinds), (count, 2), generator=generator)]
        self.images = torch.empty(count, 3, canvas, canvas, dtype=torch.uint8)
        parts = (tensor.split(CHUNK) for tensor in (self.images, self.centres, self.circles))
        for images, centres, circles in zip(*parts, strict=True):
            _draw(images, object_masks(centres, circles, canvas, radius))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a whole batch; torch's loaders call this instead of ``__getitem__``."""
        chosen = torch.as_tensor(indices)
        image = self.images[chosen].to(torch.float32, memory_format=torch.channels_last)
        return {
            "image": image.div_(127.5).sub_(1),
            "centre": self.centres[chosen],
            "circle": self.circles[chosen],
        }

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample, with crosses at the centres."""
        figure = Figure(figsize=(3, 3), layout="constrained")
        axes = figure.subplots()
        axes.imshow((sample["image"].permute(1, 2, 0).numpy() + 1) / 2)
        axes.plot(*sample["centre"].T.tolist(), "x", color="black")
        return figure


def object_masks(centres: Tensor, circles: Tensor, canvas: int, radius: int) -> Tensor:
    """Return the pixels that objects cover.

    Args:
        centres: (x, y) in pixels, (..., 2), integers.
        circles: whether they are circles rather than squares, (...), bool.
        canvas: height and width in pixels.
        radius: half the side of a square and the radius of a circle.

    Returns:
        Booleans (..., canvas, canvas).
    """
    # how far an object reaches to the left and right of its centre, by the distance of the row from the centre
    distance = torch.arange(canvas)
    inside = distance <= radius
    circle = (radius**2 - distance**2).clamp(min=0).sqrt().floor()
    reach = torch.stack([torch.where(inside, float(radius), -1.0), torch.where(inside, circle, -1.0)]).to(torch.int16)
    column, row = (torch.arange(canvas) - centres[..., None]).abs().unbind(-2)  # (..., canvas)
    return column.to(torch.int16)[..., None, :] <= reach[circles.long()[..., None], row][..., :, None]


def _place(count: int, canvas: int, radius: int, generator: Generator) -> Tensor:
    centres = torch.randint(radius, canvas - radius, (count, 2, 2), generator=generator)
    while True:
        difference = centres[:, 1] - centres[:, 0]
        near = (difference.square().sum(1) < (2 * radius) ** 2).nonzero()[:, 0]
        if not len(near):
            return centres
        centres[near, 1] = torch.randint(radius, canvas - radius, (len(near), 2), generator=generator)


def _draw(images: Tensor, masks: Tensor) -> None:
    """Paint blue, then red objects (N, 2, H, W) on white images (N, 3, H, W), in place."""
    blue, red = masks.unbind(1)
    torch.stack([red | ~blue, ~(red | blue), ~red], dim=1, out=images.view(torch.bool))
    images.mul_(255)
