"""The task of training the paper's region-proposal network, which finds boxes of objects without their classes."""

from typing import ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchvision.ops import nms

from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.task import Batch, Outputs
from lightning_coordconv.core.undefined import is_undefined
from lightning_coordconv.detection.figures import DetectionFigures
from lightning_coordconv.detection.matching import (
    clip_boxes,
    decode_boxes,
    draw_samples,
    encode_boxes,
    match_boxes,
    pad_boxes,
)
from lightning_coordconv.detection.metrics import (
    AllPairsIoU,
    BestBoxIoU,
    ClosestIoU,
    MatchedIoU,
    TiedBestBoxIoU,
    TiedBestBoxIoUError,
)
from lightning_coordconv.detection.task import Detections


class RegionProposal(NetworkTask):
    """Propose boxes around objects, whatever they are (the paper's "Faster R-CNN", which has no second stage).

    Proposals are anchors that the net has moved. In training, a proposal is positive if it lies inside the image and
    its IoU with a true box is at least 0.5, or if no other overlaps some true box more; negative if it lies inside and
    its IoU with every true box is below 0.1. The loss has two terms of equal weight, ``box``, how far positives are
    off, and ``score``, the cross-entropy of object against background, over at most six positives and as many negatives
    as make it twelve, for each image. Source: the authors' ``model_zoo.py`` and ``layers`` (after DenseCap).

    Metrics, all but the error higher is better: ``best_iou`` (the paper's "IOU-select"), ``closest_iou`` and
    ``all_pairs_iou`` of the boxes that are left by non-maximum suppression; ``tied_iou``, as ``best_iou`` with a random
    choice among the boxes whose score is within 0.005 of the best, and its standard error ``tied_iou_error``; in
    training ``positive_iou`` of the sampled positives ("train IOU"). See :mod:`lightning_coordconv.detection.metrics`.

    Args:
        net: maps images (B, C, H, W) to anchors (A, 4), offsets (B, A, 4), and logits (B, A, 2) of object and
            background.
        box_loss: of the difference x of two codes, summed over the four numbers of a box. ``"authors"``: x^2 to
            |x| = 1 and |x| beyond, ``"smooth_l1"``: torch's, half of x^2 and |x| - 1/2.
        num_proposals: largest number of proposals for an image.
        nms_threshold: of two boxes whose IoU is larger, the one with the lower score is dropped.
        match_unseen: let a true box that no proposal overlaps, as it may lie outside of the image, make the first
            proposal, in the upper left corner, positive, as happens in the authors' code.
        sampling: ``"boxes"``: a proposal is positive for one true box, and negatives fill up the twelve samples.
            ``"pairs"``, the authors': positives are pairs of a proposal and a true box, so that one proposal can be
            taught several boxes at once, and there are six negatives, or none if there are six or fewer to draw from.
        clip: cut proposals and true boxes at the border of the image for matching, suppression and IoUs, but not for
            the targets of the box loss, as the authors' ``--clip`` does. True boxes outside of the image become slivers
            of a pixel at its border.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: for another ``box_loss`` or ``sampling``.
    """

    sample_keys: frozenset[str] = frozenset({"image", "boxes"})
    half_weights: ClassVar[bool] = False
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
        sampling: Literal["boxes", "pairs"] = "boxes",
        clip: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        metrics: dict[str, Metric] = {
            "best_iou": BestBoxIoU(),
            "closest_iou": ClosestIoU(),
            "all_pairs_iou": AllPairsIoU(),
            "tied_iou": TiedBestBoxIoU(),
            "tied_iou_error": TiedBestBoxIoUError(),
        }
        in_training: dict[str, Metric] = {"positive_iou": MatchedIoU()}
        super().__init__(
            net, metrics, optimizer, lr_scheduler, lr_scheduler_interval, in_training, compile, channels_last
        )
        if box_loss not in ("authors", "smooth_l1"):
            raise ValueError(f"box_loss must be 'authors' or 'smooth_l1', got {box_loss!r}")
        if sampling not in ("boxes", "pairs"):
            raise ValueError(f"sampling must be 'boxes' or 'pairs', got {sampling!r}")
        self.box_loss = box_loss
        self.num_proposals = num_proposals
        self.nms_threshold = nms_threshold
        self.match_unseen = match_unseen
        self.pairs = sampling == "pairs"
        self.clip = clip

    def figures(self) -> list[Callback]:
        """Return the figures of proposals beside true boxes."""
        return [DetectionFigures()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, its terms ``box`` and ``score``, their ``counts`` of boxes, and what is measured.

        In training ``preds`` and ``target`` are the sampled positives and their true boxes, (B, P, 4) each, with NaN
        in place of true boxes where fewer were sampled; otherwise lists, for each image, of what :meth:`propose`
        returns and of the true ``boxes``. Of an image with an output that is NaN or infinite, all boxes are NaN.
        """
        anchors, offsets, logits = in_full_precision(self.net(batch["image"]))
        size = batch["image"].shape[-2:]
        true, present = pad_boxes(batch["boxes"])
        moved = decode_boxes(offsets.detach(), anchors)
        seen, seen_true = (clip_boxes(moved, size), clip_boxes(true, size)) if self.clip else (moved, true)
        positive, negative = match_boxes(seen, seen_true, present, size, self.match_unseen, self.pairs)
        samples = draw_samples(positive, negative, authors=self.pairs)
        drawn = samples.positive[..., None]
        own = anchors[samples.box]
        wanted = torch.where(drawn, _rows(true, samples.true), own)  # a box that was not drawn costs nothing
        difference = _rows(offsets, samples.box) - encode_boxes(wanted, own)
        boxes = samples.positive.sum()
        counts = {"box": boxes, "score": boxes + samples.negative.sum()}
        terms = {
            "box": self._box_loss(difference.masked_fill(~drawn, 0.0)) / counts["box"].clamp(min=1),
            "score": (
                (_cross_entropy(_rows(logits, samples.box), 0) * samples.positive).sum()
                + (_cross_entropy(_rows(logits, samples.background), 1) * samples.negative).sum()
            )
            / counts["score"].clamp(min=1),
        }
        outputs: Outputs = {"loss": terms["box"] + terms["score"], **terms, "counts": counts}
        if self.training:
            target = _rows(seen_true, samples.true).masked_fill(~drawn, torch.nan)
            return outputs | {"preds": _rows(seen, samples.box), "target": target}
        undefined = is_undefined(torch.cat([offsets, logits], dim=-1).detach()).any((1, 2))
        return outputs | {
            "preds": self.propose(seen.masked_fill(undefined[:, None, None], torch.nan), logits),
            "target": [{"boxes": clip_boxes(boxes, size) if self.clip else boxes} for boxes in batch["boxes"]],
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> Detections:
        """Return the proposals for each image of a batch."""
        anchors, offsets, logits = in_full_precision(self.net(batch["image"]))
        moved = decode_boxes(offsets, anchors)
        return self.propose(clip_boxes(moved, batch["image"].shape) if self.clip else moved, logits)

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

    def _box_loss(self, difference: Tensor) -> Tensor:
        """Return the sum over positives of what a difference of codes (..., 4) costs."""
        if self.box_loss == "authors":
            size = difference.abs()
            cost = torch.where(size <= 1, size**2, size)
        else:
            cost = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
        return cost.sum()


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows (B, n) of tables (B, N, k): (B, n, k)."""
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))


def _cross_entropy(logits: Tensor, label: int) -> Tensor:
    """Return the cross-entropy (B, n) of logits (B, n, 2) with one label."""
    return -logits.log_softmax(-1)[..., label]
