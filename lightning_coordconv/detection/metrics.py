"""Metrics of proposed boxes' IoU with true ones: of the best-scored, its ties (and error), all pairs, closest, matched.

Boxes are (n, 4) in any unit: x1, y1, x2, y2. Images without a true box, where an overlap means nothing, are left out of
the mean over images.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.ops import box_iou

from lightning_coordconv.core.metrics import SampleMean

Boxes: TypeAlias = Sequence[Mapping[str, Tensor]]
"""A mapping for each image, with at least ``boxes``."""


class OverlapMetric(SampleMean):
    """Mean over images of a number made of the overlaps between proposed and true boxes."""

    higher_is_better = True

    def overlap(self, iou: Tensor, scores: Tensor | None) -> Tensor:
        """Return one number () of the IoUs (P, T) of P > 0 proposals, best first, and T > 0 true boxes.

        Args:
            iou: (P, T).
            scores: of the proposals (P,), falling, where they have any.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement overlap(iou, scores)")

    def values(self, preds: Boxes, target: Boxes) -> Tensor:  # type: ignore[override]  # boxes differ in number
        """Return the overlaps (B',) of the images that have a true box: 0 where nothing is proposed.

        Args:
            preds: ``boxes`` for each image, best first.
            target: true ``boxes`` for each image.

        Raises:
            ValueError: if there are not as many images in both.
        """
        if len(preds) != len(target):
            raise ValueError(f"there are proposals for {len(preds)} images, but true boxes for {len(target)}")
        overlaps = []
        for proposed, true in zip(preds, target, strict=True):
            if len(true["boxes"]):
                iou = box_iou(proposed["boxes"], true["boxes"])
                overlaps.append(self.overlap(iou, proposed.get("scores")) if len(iou) else iou.new_zeros(()))
        return torch.stack(overlaps) if overlaps else self.total.new_zeros(0)


class BestBoxIoU(OverlapMetric):
    """IoU of the best-scored box with the true box that it overlaps most; the paper's "test IOU-select".

    Example:
        >>> import torch
        >>> metric = BestBoxIoU()
        >>> proposed = torch.tensor([[0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
        >>> metric.update([{"boxes": proposed}], [{"boxes": torch.tensor([[0.0, 0.0, 1.0, 1.0]])}])
        >>> metric.compute()
        tensor(0.5000)
    """

    def overlap(self, iou: Tensor, scores: Tensor | None) -> Tensor:
        """Take the first row's largest."""
        return iou[0].max()


class AllPairsIoU(OverlapMetric):
    """Mean IoU over all pairs of a proposal and a true box; ``mean_nms_iou`` in the authors' code.

    It falls with the number of true boxes, as a proposal covers one of them at best. By its size it is the paper's
    "test IOU-average".
    """

    def overlap(self, iou: Tensor, scores: Tensor | None) -> Tensor:
        """Average over everything."""
        return iou.mean()


class ClosestIoU(OverlapMetric):
    """Mean over proposals of the IoU with the true box that each overlaps most; ``mean_argmax_nms_iou`` there."""

    def overlap(self, iou: Tensor, scores: Tensor | None) -> Tensor:
        """Average the largest of each row."""
        return iou.amax(1).mean()


class TiedBestBoxIoU(OverlapMetric):
    """IoU of a box drawn at random from those that score like the best; its mean over the draw.

    Scores of a trained network saturate: which of ten boxes that score 0.998 and more is the best one is chance, and
    :class:`BestBoxIoU` depends on it. This metric is what ``BestBoxIoU`` is on average over that chance.

    Args:
        tolerance: largest distance to the best score of the boxes that are drawn from.

    Example:
        >>> import torch
        >>> metric = TiedBestBoxIoU()
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 4.0, 1.0]])
        >>> scores = torch.tensor([1.0, 0.999, 0.9])
        >>> metric.update([{"boxes": boxes, "scores": scores}], [{"boxes": boxes[1:2]}])
        >>> metric.compute()
        tensor(0.7500)
    """

    def __init__(self, tolerance: float = 0.005) -> None:
        super().__init__()
        self.tolerance = tolerance

    def overlap(self, iou: Tensor, scores: Tensor | None) -> Tensor:
        """Average the largest of each row over the rows that are tied with the first.

        Raises:
            ValueError: if there are no scores.
        """
        if scores is None:
            raise ValueError(f"{type(self).__name__} needs the scores of the proposals")
        tied = scores >= scores[0] - self.tolerance
        return (iou.amax(1) * tied).sum() / tied.sum()


class TiedBestBoxIoUError(TiedBestBoxIoU):
    """Standard error of :class:`TiedBestBoxIoU`: the standard deviation over images by the root of their number.

    NaN for fewer than two images.
    """

    higher_is_better = False
    squares: Tensor

    def __init__(self, tolerance: float = 0.005) -> None:
        super().__init__(tolerance)
        self.add_state("squares", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Boxes, target: Boxes) -> None:  # type: ignore[override]  # boxes differ in number
        """Add a batch."""
        values = self.values(preds, target).double()
        self.total += values.sum()
        self.squares += (values**2).sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        """Return the standard error over all images so far."""
        variance = (self.squares - self.total**2 / self.count).clamp(min=0) / (self.count - 1).clamp(min=0)
        return (variance / self.count).sqrt().float()


class MatchedIoU(SampleMean):
    """Mean IoU of boxes with the true boxes they are matched to, pair by pair; the paper's "train IOU".

    Pairs whose true box is NaN count for nothing, so that batches can have a fixed size.

    Example:
        >>> import torch
        >>> metric = MatchedIoU()
        >>> metric.update(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the IoU (...) of each pair of boxes (..., 4), NaN where a box is NaN.

        Raises:
            ValueError: if there are not as many of both.
        """
        if preds.shape != target.shape:
            raise ValueError(f"expected pairs of boxes, got {tuple(preds.shape)} and {tuple(target.shape)}")
        return box_iou(preds[..., None, :], target[..., None, :])[..., 0, 0]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add the pairs of a batch."""
        known = ~target.isnan().any(-1)
        self.total += self.values(preds, target).masked_fill(~known, 0.0).sum(dtype=self.total.dtype)
        self.count += known.sum()
