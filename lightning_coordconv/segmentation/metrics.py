"""Metrics of label maps: mean intersection over union, pixel accuracy, and the confusion matrix."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_coordconv.core.checked import CheckedArguments

UNDEFINED = -1
"""Predicted class of pixels whose logits are NaN or infinite. With one of them that counts, a metric is NaN."""


class MeanIoU(CheckedArguments, Metric):
    """Mean over classes of intersection over union, from counts of pixels for each class; exact over ranks.

    A class that is neither predicted nor true anywhere does not count; without any class the mean is NaN. The same
    number as torchmetrics' ``MulticlassJaccardIndex`` gives where every class occurs, but an update reads no value from
    the device, where that one selects pixels by a mask, and the memory grows with the classes, not with their pairs.
    Higher is better.

    Args:
        num_classes: number of classes C.
        ignore_index: value of pixels that do not count.

    Example:
        >>> metric = MeanIoU(num_classes=2)
        >>> metric.update(torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 1], [0, 255]]]))
        >>> metric.compute(), metric.per_class()
        (tensor(0.5000), tensor([0.5000, 0.5000]))
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    right: Tensor
    predicted: Tensor
    true: Tensor
    undefined: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        for name in ("right", "predicted", "true"):  # the last count is that of pixels that do not count
            self.add_state(name, torch.zeros(num_classes + 1, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: predicted classes (B, H, W), int64, or -1 for none, with which the result is NaN.
            target: true classes (B, H, W), int64, or ``ignore_index``.

        Raises:
            ValueError: if their shapes differ.
            RuntimeError: if one of them is no class, where they are on a CPU.
        """
        _check_shapes(preds, target)
        known = target != self.ignore_index
        counts = known & (preds != UNDEFINED)
        self.undefined += (known & ~counts).sum()
        self._count(self.right, target, counts & (preds == target))
        self._count(self.predicted, preds, counts)
        self._count(self.true, target, counts)

    def per_class(self) -> Tensor:
        """Return the intersection over union of each class (C,), NaN for a class that does not occur."""
        right, predicted, true = (counts[:-1] for counts in (self.right, self.predicted, self.true))
        found = right / (predicted + true - right)
        return found.masked_fill(self.undefined > 0, torch.nan)

    def compute(self) -> Tensor:
        """Return the mean over the classes that occur."""
        return self.per_class().nanmean()

    def _count(self, counts: Tensor, classes: Tensor, which: Tensor) -> None:
        cells = _exceeding(classes, self.num_classes).masked_fill(~which, self.num_classes).flatten()
        counts.scatter_add_(0, cells, torch.ones_like(cells))


def _check_shapes(preds: Tensor, target: Tensor) -> None:
    """Refuse masks (B, 1, H, W) beside predictions (B, H, W), of which each would be compared with each."""
    if preds.shape != target.shape:
        raise ValueError(
            f"expected predicted and true classes of one shape, got {tuple(preds.shape)} and {tuple(target.shape)}"
        )


def _exceeding(classes: Tensor, num_classes: int) -> Tensor:
    """Replace what is no class by a number beyond all counts, so that counting it fails, not in the cell of another."""
    return classes.masked_fill((classes < 0) | (classes >= num_classes), num_classes**2 + 1)


class ConfusionMatrix(CheckedArguments, Metric):
    """Number of pixels by true class (row) and predicted class (column), (C, C); exact over ranks.

    Args:
        num_classes: number of classes C.
        ignore_index: value of pixels that do not count; nor do predictions of -1, for none.
    """

    full_state_update = False
    is_differentiable = False
    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("confusion", torch.zeros(num_classes**2 + 1, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predicted classes and true ones (B, H, W), int64.

        Raises:
            ValueError: if their shapes differ.
            RuntimeError: if one of them is no class, where they are on a CPU.
        """
        _check_shapes(preds, target)
        counts = (target != self.ignore_index) & (preds != UNDEFINED)
        rows, columns = (_exceeding(classes, self.num_classes) for classes in (target, preds))
        cells = (rows * self.num_classes + columns).masked_fill(~counts, self.num_classes**2).flatten()
        self.confusion.scatter_add_(0, cells, torch.ones_like(cells))

    def compute(self) -> Tensor:
        """Return the matrix."""
        return self.confusion[:-1].view(self.num_classes, self.num_classes)


class PixelAccuracy(CheckedArguments, Metric):
    """Share of the pixels of a class that are predicted as such; NaN without any pixel. Higher is better.

    Args:
        ignore_index: value of pixels that do not count.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    right: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predicted and true classes (B, H, W), int64; a prediction of -1, for none, makes the result NaN.

        Raises:
            ValueError: if their shapes differ.
        """
        _check_shapes(preds, target)
        known = target != self.ignore_index
        self.right += ((preds == target) & known).sum()
        self.count += known.sum()
        self.undefined += ((preds == UNDEFINED) & known).sum()

    def compute(self) -> Tensor:
        """Return the share."""
        return (self.right / self.count).masked_fill(self.undefined > 0, torch.nan)
