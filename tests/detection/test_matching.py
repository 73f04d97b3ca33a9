"""Tests of box encoding, clipping, padding, matching and sampling, against loops over boxes and against torchvision."""

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.ops import box_iou

from lightning_coordconv.detection.matching import (
    clip_boxes,
    decode_boxes,
    draw_samples,
    encode_boxes,
    match_boxes,
    pad_boxes,
)
from tests.detection.test_metrics import iou, random_boxes

SIDE = 16.0


def test_the_code_of_boxes_is_torchvision_s():
    generator = torch.Generator().manual_seed(0)
    boxes, anchors = random_boxes(50, generator), random_boxes(50, generator)
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    offsets = encode_boxes(boxes, anchors)
    torch.testing.assert_close(offsets, coder.encode_single(boxes, anchors))
    torch.testing.assert_close(decode_boxes(offsets, anchors), boxes)
    far = 8 * torch.randn(50, 4, generator=generator)
    torch.testing.assert_close(decode_boxes(far[None], anchors)[0], coder.decode_single(far, anchors))


def scenes(images: int = 20) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return proposals (B, 120, 4), many of them near true boxes, and 0 to 4 true boxes for each image."""
    generator = torch.Generator().manual_seed(0)
    boxes, true = [], []
    for image in range(images):
        own = random_boxes(image % 5, generator) * 10
        centres = own if len(own) else random_boxes(1, generator) * 10
        around = centres[torch.arange(60) % len(centres)] + torch.randn(60, 4, generator=generator) * 0.7
        near = around.sort(1).values
        proposals = torch.cat([near, random_boxes(60, generator) * 10])
        proposals[:, 2:] = torch.maximum(proposals[:, 2:], proposals[:, :2] + 0.5)
        boxes.append(proposals)
        true.append(own)
    return torch.stack(boxes), true


def pairs_by_rule(boxes: list, true: list, unseen: bool) -> tuple[set[tuple[int, int]], set[int]]:
    """The authors' rule, pair by pair: positive pairs (true box, proposal), and negatives."""
    table = [[iou(box, other) for box in boxes] for other in true]
    inside = [min(box) >= 0 and max(box) <= SIDE for box in boxes]
    best = {(t, row.index(max(row))) for t, row in enumerate(table) if max(row) > 0 or unseen}
    over = {(t, b) for t, row in enumerate(table) for b, value in enumerate(row) if value >= 0.5 and inside[b]}
    taken = {b for _, b in best}
    negative = {b for b in range(len(boxes)) if inside[b] and b not in taken and all(row[b] < 0.1 for row in table)}
    return best | over, negative


def boxes_by_rule(boxes: list, true: list, unseen: bool) -> set[tuple[int, int]]:
    """The rule that gives each proposal one true box, box by box."""
    chosen = {}
    for number, box in enumerate(boxes):
        overlaps = [iou(box, other) for other in true]
        if overlaps and min(box) >= 0 and max(box) <= SIDE and max(overlaps) >= 0.5:
            chosen[number] = overlaps.index(max(overlaps))
    for number, other in enumerate(true):
        overlaps = [iou(box, other) for box in boxes]
        if max(overlaps) > 0 or unseen:
            chosen[overlaps.index(max(overlaps))] = number
    return {(t, b) for b, t in chosen.items()}


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("pairs", [False, True])
def test_matching_against_loops(unseen, pairs):
    boxes, true = scenes()
    true[7] = torch.cat([true[7], torch.tensor([[-30.0, -30.0, -10.0, -10.0], [90.0, 0.0, 95.0, 9.0]])])
    padded, present = pad_boxes(true)
    positive, negative = match_boxes(boxes, padded, present, (16, 16), unseen, pairs)
    assert positive.shape == (20, 4, 120)
    for image, own in enumerate(true):
        found = {(t, b) for t, b in positive[image].nonzero().tolist()}
        expected, background = pairs_by_rule(boxes[image].tolist(), own.tolist(), unseen)
        if not pairs:
            expected = boxes_by_rule(boxes[image].tolist(), own.tolist(), unseen)
        assert found == expected
        assert set(negative[image].nonzero().flatten().tolist()) == background


def test_matching_is_torchvision_s_where_they_agree():
    """Without the best boxes of true ones, and with all proposals inside."""
    boxes, true = scenes()
    padded, present = pad_boxes(true)
    positive, negative = match_boxes(boxes, padded, present, (10_000, 10_000), False, False)
    for image, own in enumerate(true):
        if len(own) == 0:
            continue
        matches = Matcher(0.5, 0.1)(box_iou(own, boxes[image]))
        claimed = box_iou(own, boxes[image]).argmax(1)
        inside = boxes[image].min(1).values >= 0
        others = torch.ones(120, dtype=torch.bool).index_fill(0, claimed, False) & inside
        ours = torch.where(positive[image].any(0), positive[image].long().argmax(0), -2)
        ours = torch.where(negative[image], -1, ours)
        assert torch.equal(ours[others], matches[others])


def test_several_unseen_digits_share_the_first_proposal_as_pairs():
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [4.0, 4.0, 8.0, 8.0]]])
    far = torch.tensor([[-30.0, -30.0, -10.0, -10.0], [40.0, 40.0, 50.0, 50.0]])
    padded, present = pad_boxes([far])
    for pairs, expected in ((True, [[True, False], [True, False]]), (False, [[False, False], [True, False]])):
        positive, negative = match_boxes(boxes, padded, present, (8, 8), True, pairs)
        assert positive[0].tolist() == expected
        assert negative[0].tolist() == [False, True]
    positive, negative = match_boxes(boxes, padded, present, (8, 8))
    assert not positive.any()
    assert negative.all()


def test_clipping_leaves_slivers():
    boxes = torch.tensor(
        [[-5.0, 2.0, 3.0, 9.0], [-9.0, -9.0, -3.0, -3.0], [20.0, 1.0, 30.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
    )
    assert clip_boxes(boxes, (8, 10)).tolist() == [[0, 2, 3, 8], [0, 0, 1, 1], [9, 1, 10, 2], [1, 2, 3, 4]]


def test_padding_of_true_boxes():
    padded, present = pad_boxes([torch.zeros(0, 4), torch.ones(2, 4)])
    assert padded.tolist() == [[[0] * 4] * 2, [[1] * 4] * 2]
    assert present.tolist() == [[False, False], [True, True]]
    padded, present = pad_boxes([torch.zeros(0, 4)])
    assert padded.shape == (1, 1, 4)
    assert present.tolist() == [[False]]


def masks(positives: int, negatives: int, images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    positive, negative = torch.zeros(images, 3, 100, dtype=torch.bool), torch.zeros(images, 100, dtype=torch.bool)
    positive[:, 1, :positives] = True
    negative[:, positives : positives + negatives] = True
    return positive, negative


@pytest.mark.parametrize(
    ("positives", "negatives", "ours", "theirs"),
    [(33, 40, (6, 6), (6, 6)), (0, 90, (0, 12), (0, 6)), (2, 50, (2, 10), (2, 6)), (9, 3, (6, 3), (6, 0)),
     (0, 0, (0, 0), (0, 0)), (9, 6, (6, 6), (6, 0)), (9, 7, (6, 6), (6, 6))],
)  # fmt: skip
def test_numbers_of_samples(positives, negatives, ours, theirs):
    """Ours are torchvision's; the authors draw no negatives of six or fewer."""
    positive, negative = masks(positives, negatives)
    labels = torch.where(positive.any(1), 1, torch.where(negative, 0, -1))[0]
    by_torchvision = BalancedPositiveNegativeSampler(12, 0.5)([labels])
    assert tuple(int(mask[0].sum()) for mask in by_torchvision) == ours
    for authors, expected in ((False, ours), (True, theirs)):
        samples = draw_samples(positive, negative, authors)
        assert (samples.positive.sum(), samples.negative.sum()) == expected
        boxes, background = samples.box[samples.positive], samples.background[samples.negative]
        assert (boxes < positives).all()
        assert (samples.true[samples.positive] == 1).all()
        assert ((background >= positives) & (background < positives + negatives)).all()
        assert len(set(boxes.tolist())) == len(boxes)
        assert len(set(background.tolist())) == len(background)


def test_every_candidate_is_as_likely_as_by_torchvision():
    positive, negative = masks(10, 20, images=4000)
    samples = draw_samples(positive, negative)
    ours = torch.bincount(samples.box[samples.positive], minlength=10) / 4000
    theirs = torch.bincount(samples.background[samples.negative], minlength=30)[10:] / 4000
    assert (ours - 0.6).abs().max() < 0.04  # 6 of 10; five standard deviations
    assert (theirs - 0.3).abs().max() < 0.04  # 6 of 20
    together = (samples.box == 0).any(1) & (samples.box == 1).any(1)
    assert together.float().mean().item() == pytest.approx(6 * 5 / (10 * 9), abs=0.04)
