"""Functions of boxes for the region-proposal task: encode and decode offsets, clip, pad, match to truth, sample.

Shapes depend on the sizes of the inputs only: what was not drawn is masked. Boxes are (..., 4): x1, y1, x2, y2 in
pixels. B is the number of images, A of proposals, T the largest number of true boxes of an image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_iou

POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.1
SAMPLES, POSITIVES = 12, 6
"""Numbers of samples, and of positives among them, of an image."""
LARGEST_LOG = math.log(1000 / 16)
"""Limit of the logarithm of the factor by which a box grows, as in torchvision."""


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the offsets (..., 4) of boxes from anchors: shifts of the centre in sizes of the anchor, logs of factors.

    The code of Faster R-CNN (Ren et al., 2015, equation 2) and of torchvision with unit weights.
    """
    size, anchor_size = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    centre, anchor_centre = boxes[..., :2] + 0.5 * size, anchors[..., :2] + 0.5 * anchor_size
    return torch.cat([(centre - anchor_centre) / anchor_size, torch.log(size / anchor_size)], dim=-1)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (..., 4) to which offsets move anchors."""
    anchors = anchors.to(offsets.dtype)
    size = anchors[..., 2:] - anchors[..., :2]
    centre = offsets[..., :2] * size + (anchors[..., :2] + 0.5 * size)
    half = 0.5 * (offsets[..., 2:].clamp(max=LARGEST_LOG).exp() * size)
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_boxes(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Cut boxes at the border of an image of a size (height, width); those outside keep a sliver of a pixel there."""
    height, width = size[-2:]
    x1, y1, x2, y2 = boxes.unbind(-1)
    low = [x1.clamp(0, width - 1), y1.clamp(0, height - 1)]
    return torch.stack([*low, x2.clamp(1, width), y2.clamp(1, height)], dim=-1)


def pad_boxes(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack the true boxes of images.

    Args:
        boxes: (n, 4) for each image.

    Returns:
        The boxes (B, T, 4), T >= 1, zeros where an image has fewer, and whether there is one (B, T).
    """
    counts = [len(own) for own in boxes]
    most = max(1, *counts)
    padded = torch.nn.functional.pad(pad_sequence(list(boxes), batch_first=True), (0, 0, 0, most - max(counts)))
    lengths = torch.tensor(counts).to(padded.device, non_blocking=True)
    return padded, torch.arange(most, device=padded.device) < lengths[:, None]


def match_boxes(
    boxes: Tensor, true: Tensor, present: Tensor, size: Sequence[int], unseen: bool = False, pairs: bool = False
) -> tuple[Tensor, Tensor]:
    """Tell which proposals are positive and which are negative.

    A proposal inside the image is positive for the true box that it overlaps most, if its IoU is at least 0.5; and,
    inside or not, for a true box that no other proposal overlaps more. It is negative if it is inside, is not the best
    of any true box, and its IoU with each is below 0.1.

    Args:
        boxes: proposals (B, A, 4).
        true: boxes (B, T, 4).
        present: whether there is a true box (B, T).
        size: height and width of the images.
        unseen: let the first proposal count as the best of a true box that nothing overlaps.
        pairs: let a proposal be positive for each true box that it overlaps by 0.5 or is the best of, as in the
            authors' code; otherwise for one of them, and if it is the best of several, for the last.

    Returns:
        Whether a proposal is positive for a true box (B, T, A), and whether it is negative (B, A).
    """
    height, width = size[-2:]
    x1, y1, x2, y2 = boxes.unbind(-1)
    inside = (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
    iou = box_iou(true, boxes).masked_fill(~present[..., None], -1.0)
    overlap, nearest = iou.max(1)
    most, best = iou.max(2)
    found = present & ((most > 0) | unseen)
    claims = torch.zeros_like(iou, dtype=torch.bool).scatter(2, best[..., None], found[..., None])
    if pairs:
        positive = ((iou >= POSITIVE_IOU) & inside[:, None]) | claims
    else:
        number = torch.arange(true.shape[1], device=true.device)[:, None]
        claimed = torch.where(claims, number, -1).amax(1)
        chosen = torch.where((overlap >= POSITIVE_IOU) & inside, nearest, -1)
        positive = torch.where(claimed >= 0, claimed, chosen)[:, None] == number
    return positive, (overlap < NEGATIVE_IOU) & inside & ~claims.any(1)


class Samples(NamedTuple):
    """Proposals that were drawn for training, P positives and N negatives an image.

    Attributes:
        box: of each positive (B, P), its number among the A proposals.
        true: of each positive (B, P), the number of its true box.
        positive: whether a positive was drawn (B, P).
        background: of each negative (B, N), its number.
        negative: whether a negative was drawn (B, N).
    """

    box: Tensor
    true: Tensor
    positive: Tensor
    background: Tensor
    negative: Tensor


def draw_samples(positive: Tensor, negative: Tensor, authors: bool = False) -> Samples:
    """Draw at most 6 positives of each image, and as many negatives as make it 12, all alike likely.

    Args:
        positive: whether a proposal is positive for a true box (B, T, A).
        negative: whether a proposal is negative (B, A).
        authors: draw 6 negatives, and none if there are 6 or fewer, as the authors' code does.
    """
    drawn, pair = _draw(positive.flatten(1), POSITIVES)
    chosen, background = _draw(negative, POSITIVES if authors else SAMPLES)
    if authors:
        chosen = chosen & (negative.sum(1, keepdim=True) > POSITIVES)
    else:
        order = torch.arange(chosen.shape[1], device=chosen.device)
        chosen = chosen & (order < SAMPLES - drawn.sum(1, keepdim=True))
    proposals = negative.shape[1]
    return Samples(pair % proposals, pair // proposals, drawn, background, chosen)


def _draw(allowed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw up to ``count`` of the places (B, n) that are allowed; return whether each was drawn, and its number."""
    keys = torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1.0)
    key, place = keys.topk(min(count, allowed.shape[1]), dim=1)
    return key >= 0, place
