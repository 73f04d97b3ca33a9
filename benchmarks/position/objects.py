"""Functions that generate images whose masks label each object by its grid cell, or each pasted flower by its side."""

from functools import cache

import torch
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread
from sklearn.datasets import load_sample_image
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.position.data import Tensors
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.digits import SPLITS, DigitSplit, mnist_digits
from lightning_coordconv.generative import SortOfClevr
from lightning_coordconv.generative.sort_of_clevr import object_masks

COUNTS = {"train": 2400, "val": 200, "test": 400, "predict": 400}
CANVAS, CELLS = 32, 4
"""Height and width of an image of masks in pixels, and cells of the grid in a row and in a column."""
RADIUS = 4
SIDE_CANVAS = 80


def with_frame(image: Tensor, mask: Tensor) -> Tensors:
    """Return samples of semantic segmentation, in the frame of the whole image."""
    size = torch.tensor(image.shape[-2:]).expand(len(image), 2)
    return {"image": image, "mask": mask, "origin": torch.zeros_like(size), "size": size}


def cell_labels(masks: Tensor, centres: Tensor) -> Tensor:
    """Return label maps (N, H, W): 0, or for a pixel of an object 1 plus the cell that the object's centre lies in.

    Args:
        masks: of the objects, (N, n, H, W), bool; where they overlap, the last one is seen.
        centres: rows and columns in pixels, (N, n, 2).
    """
    cell = (centres * CELLS / masks.shape[-1]).long()
    number = 1 + cell[..., 0] * CELLS + cell[..., 1]
    labels = torch.zeros_like(masks[:, 0], dtype=torch.long)
    for k in range(masks.shape[1]):
        labels = torch.where(masks[:, k], number[:, k, None, None], labels)
    return labels


def clevr_masks(split: Split, generator: Generator) -> Tensors:
    """Return two-object Sort-of-CLEVR: the class of a pixel is the cell of its object's centre (as in SOLO)."""
    seed = int(torch.randint(2**31, (), generator=generator))
    data = SortOfClevr("train", COUNTS[split], CANVAS, RADIUS, seed=seed)
    masks = object_masks(data.centres, data.circles, CANVAS, RADIUS)
    return with_frame(data.images.float() / 255, cell_labels(masks, data.centres.flip(-1)))


def digit_masks(split: Split, generator: Generator) -> Tensors:
    """Return two digits of 14 x 14 pixels, side by side or one above the other, labelled as in :func:`clevr_masks`."""
    count, side = COUNTS[split], 14
    glyphs, _ = mnist_digits()
    chosen: DigitSplit = "test" if split == "predict" else split
    own = torch.randperm(len(glyphs), generator=Generator().manual_seed(0))[SPLITS[chosen]]
    picked = own[torch.randint(len(own), (count, 2), generator=generator)]
    small = F.avg_pool2d(glyphs[picked].float(), 2) / 255  # (N, 2, 14, 14)
    corners = torch.randint(CANVAS - side + 1, (count, 2, 2), generator=generator)
    half = CANVAS // 2
    axis = torch.randint(2, (count,), generator=generator)  # in which the two digits are apart
    rows = torch.arange(count)
    corners[rows, 0, axis] = torch.randint(half - side + 1, (count,), generator=generator)
    corners[rows, 1, axis] = half + torch.randint(half - side + 1, (count,), generator=generator)
    canvases = torch.zeros(count, 2, CANVAS, CANVAS)
    span = torch.arange(side)
    for k in range(2):
        i, j = corners[:, k, 0, None] + span, corners[:, k, 1, None] + span
        canvases[rows[:, None, None], k, i[:, :, None], j[:, None, :]] = small[:, k]
    labels = cell_labels(canvases > 0.25, corners + side // 2)
    return with_frame(canvases.amax(1, keepdim=True), labels)


@cache
def photographs() -> list[Tensor]:
    """Return three photographs that packages ship, (3, H, W) in [0, 1], at a quarter of their resolution."""
    images = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    images.append(imread(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    tensors = [torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 for image in images]
    return [F.avg_pool2d(tensor, 4) for tensor in tensors]


def sides(split: Split, generator: Generator) -> Tensors:
    """Return pieces of photographs with one or two ellipses of flower on them, whose class is the side they are on.

    The ellipses are cut from the photograph of a dahlia and pasted on pieces of the two others: one on the left half
    and its mirror image on the right, each of which is left out in a quarter of the images, but not both. Both are
    flipped at random, so that nothing but the place tells left (class 1) from right (class 2).
    """
    count, canvas = COUNTS[split] // 2, SIDE_CANVAS
    china, flower, hopper = photographs()
    grounds = (china, hopper)
    images = torch.empty(count, 3, canvas, canvas)
    mask = torch.zeros(count, canvas, canvas, dtype=torch.long)
    i, j = torch.arange(17)[:, None] - 8, torch.arange(15)[None] - 7
    inside = (i / 8.5).square() + (j / 7.5).square() <= 1

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    for number in range(count):
        ground = grounds[draw(2)]
        top, left = draw(ground.shape[1] - canvas + 1), draw(ground.shape[2] - canvas + 1)
        image = ground[:, top : top + canvas, left : left + canvas].clone()
        row, column = draw(50), draw(50)
        patch = flower[:, 25 + row // 2 : 42 + row // 2, 45 + column : 60 + column]
        missing = draw(4)  # 0: the left one, 1: the right one
        place = 20 + draw(9)  # of the left one's middle: 13 pixels or more from the border, 5 or more from the centre
        for label, middle in ((1, place), (2, canvas - 1 - place)):
            if missing == label - 1:
                continue
            first = 8 + draw(canvas - 24)
            piece = patch.flip(-1) if draw(2) else patch
            rows, columns = slice(first, first + 17), slice(middle - 7, middle + 8)
            image[:, rows, columns] = torch.where(inside, piece, image[:, rows, columns])
            mask[number, rows, columns][inside] = label
        images[number] = image
    return with_frame(images * 2 - 1, mask)
