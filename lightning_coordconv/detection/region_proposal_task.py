"""The paper's region proposals: boxes, whatever is in them."""

from typing import ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.ops import box_iou, nms

from lightning_coordconv.core.task import Batch, NetworkTask, Outputs
from lightning_coordconv.detection.figures import DetectionFigures
from lightning_coordconv.detection.metrics import AllPairsIoU, BestBoxIoU, ClosestIoU, MatchedIoU
from lightning_coordconv.detection.task import Detections


class RegionProposal(NetworkTask):
    """Propose boxes, whatever is in them (the paper's "Faster R-CNN", which has no second stage).

    Proposals are anchors that the net has moved. In training, a moved box is positive if it lies inside the image and
    its IoU with a true box is at least 0.5, or if none overlaps some true box more; negative if it lies inside and its
    IoU with every true box is below 0.1. The loss has two terms of equal weight, ``box``, how far positives are off,
    and ``score``, the cross-entropy of object against background, over at most six positives and as many negatives as
    make it twelve, for each image. Source: the authors' ``model_zoo.py`` and ``layers`` (after DenseCap). There, up to
    six negatives are taken, and none if there are six or fewer.

    Metrics, all higher is better: ``best_iou`` (the paper's "IOU-select"), ``closest_iou`` and ``all_pairs_iou`` of the
    boxes that are left by non-maximum suppression; in training ``positive_iou`` of the sampled positives ("train IOU").
    See :mod:`lightning_coordconv.detection.metrics`.

    Args:
        net: maps images (B, C, H, W) to anchors (A, 4), offsets (B, A, 4), and logits (B, A, 2) of object and
            background.
        box_loss: of the difference x of two codes, summed over the four numbers of a box. ``"authors"``: x^2 to
            |x| = 1 and |x| beyond, ``"smooth_l1"``: torch's, half of x^2 and |x| - 1/2.
        num_proposals: that are left for an image.
        nms_threshold: of two boxes whose IoU is larger, the one with the lower score goes.
        match_unseen: let a true box that nothing overlaps, as it may lie outside of the image, make the first box, in
            the upper left corner, positive, as happens in the authors' code.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.

    Raises:
        ValueError: for another ``box_loss``.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"image", "boxes"})
    terms: ClassVar[tuple[str, ...]] = ("box", "score")
    monitor: str = "val/best_iou"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        net: nn.Module,
        box_loss: Literal["authors", "smooth_l1"] = "authors",
        num_proposals: int = 10,
        nms_threshold: float = 0.8,
        match_unseen: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        metrics: dict[str, Metric] = {
            "best_iou": BestBoxIoU(),
            "closest_iou": ClosestIoU(),
            "all_pairs_iou": AllPairsIoU(),
        }
        in_training: dict[str, Metric] = {"positive_iou": MatchedIoU()}
        super().__init__(
            net,
            metrics,
            optimizer,
            lr_scheduler,
            lr_scheduler_interval,
            in_training,
        )
        if box_loss not in ("authors", "smooth_l1"):
            raise ValueError(f"box_loss must be 'authors' or 'smooth_l1', got {box_loss!r}")
        self.box_loss = box_loss
        self.num_proposals = num_proposals
        self.nms_threshold = nms_threshold
        self.match_unseen = match_unseen
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(high_threshold=0.5, low_threshold=0.1)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image=12, positive_fraction=0.5)

    def figures(self) -> list[Callback]:
        """Return the figures of proposals beside true boxes."""
        return [DetectionFigures()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, its terms ``box`` and ``score``, and what is measured.

        In training ``preds`` and ``target`` are the sampled positives and their true boxes, (P, 4) each; otherwise
        lists, for each image, of what :meth:`propose` returns and of the true ``boxes``.
        """
        anchors, offsets, logits = self.net(batch["image"])
        true: list[Tensor] = batch["boxes"]
        moved = self._move(offsets.detach(), anchors)
        size = moved.new_tensor(batch["image"].shape[:-3:-1]).repeat(2)  # width, height, width, height
        matched = [self.match(boxes, wanted, size) for boxes, wanted in zip(moved, true, strict=True)]
        positive, negative = self._sample(matched)
        image, anchor = positive.nonzero().unbind(1)
        wanted = torch.cat([true[i][matched[i][positive[i]]] for i in range(len(true))])
        codes = self.coder.encode_single(wanted, anchors[anchor])
        scored = positive | negative
        boxes, scores = self._share_of_all(torch.stack([positive.sum(), scored.sum()]), len(true))
        terms = {
            "box": self._box_loss(offsets[image, anchor] - codes) / boxes,
            "score": F.cross_entropy(logits[scored], negative[scored].long(), reduction="sum") / scores,
        }
        outputs: Outputs = {"loss": terms["box"] + terms["score"], **terms}
        if self.training:
            return outputs | {"preds": moved[image, anchor], "target": wanted}
        return outputs | {
            "preds": self.propose(moved, logits),
            "target": [{"boxes": boxes} for boxes in true],
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> Detections:
        """Return the proposals for each image of a batch."""
        anchors, offsets, logits = self.net(batch["image"])
        return self.propose(self._move(offsets, anchors), logits)

    def propose(self, boxes: Tensor, logits: Tensor) -> Detections:
        """Return the best-scored boxes after non-maximum suppression.

        Args:
            boxes: moved anchors (B, A, 4).
            logits: (B, A, 2) of object and background.

        Returns:
            For each image a dict of ``boxes`` (P, 4), P <= ``num_proposals``, and ``scores`` (P,), falling, in [0, 1].
        """
        proposals = []
        for moved, score in zip(boxes, logits.detach().softmax(-1)[..., 0], strict=True):
            kept = nms(moved, score, self.nms_threshold)[: self.num_proposals]
            proposals.append({"boxes": moved[kept], "scores": score[kept]})
        return proposals

    def match(self, boxes: Tensor, true: Tensor, size: Tensor) -> Tensor:
        """Tell which moved boxes are positive and which are negative.

        Args:
            boxes: moved anchors (A, 4).
            true: boxes (T, 4).
            size: width, height, width, height of the image, (4,).

        Returns:
            For each moved box (A,), int64: the index of its true box, or -1 where negative, or -2 where neither.
        """
        outside = ((boxes < 0) | (boxes > size)).any(1)
        if len(true) == 0:
            return torch.where(outside, Matcher.BETWEEN_THRESHOLDS, Matcher.BELOW_LOW_THRESHOLD)
        iou = box_iou(true, boxes)
        matched = self.matcher(iou)
        matched[outside] = Matcher.BETWEEN_THRESHOLDS
        most, best = iou.max(1)
        found = (most > 0) | self.match_unseen
        matched[best[found]] = found.nonzero().squeeze(1)
        return matched

    def _move(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """Move anchors (A, 4) by offsets (B, A, 4)."""
        flat = self.coder.decode_single(offsets.flatten(0, 1), anchors.repeat(len(offsets), 1))
        return flat.view_as(offsets)

    def _sample(self, matched: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return which boxes (B, A) are drawn as positives and as negatives."""
        positive, negative = self.sampler([(indices + 1).clamp(min=-1, max=1) for indices in matched])
        return torch.stack(positive).bool(), torch.stack(negative).bool()

    def _share_of_all(self, counts: Tensor, images: int) -> Tensor:
        """Return what to divide this rank's sums by, so that together the ranks' losses are means over all their boxes.

        Args:
            counts: (n,) of this rank's boxes, int64.
            images: of this rank.
        """
        if not self.training or self._trainer is None or self.trainer.world_size == 1:
            return counts.clamp(min=1)
        mean = self.mean_over_ranks(counts.to(self.dtype))
        return mean.clamp(min=1 / self.trainer.world_size) * self.share(images)

    def _box_loss(self, difference: Tensor) -> Tensor:
        """Return the sum over positives of what a difference of codes (P, 4) costs."""
        if self.box_loss == "authors":
            size = difference.abs()
            cost = torch.where(size <= 1, size**2, size)
        else:
            cost = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
        return cost.sum()
