"""Tests of the region-proposal task: losses and suppression by hand and by loops, clipping, learning, NaN outputs."""

import math

import pytest
import torch
from pytorch_lightning import seed_everything
from torch import nn
from torch.nn import functional as F

from lightning_coordconv.detection import FieldOfMnistDataModule, RegionProposal, RegionProposalNet
from tests.classification.test_task import quiet
from tests.detection.test_metrics import iou, random_boxes


class Proposals(nn.Module):
    """Answers with fixed anchors, offsets and logits."""

    def __init__(self, *answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.answer


def task(**arguments: object) -> RegionProposal:
    return RegionProposal(nn.Linear(1, 1), **arguments)


@pytest.mark.parametrize("box_loss", ["authors", "smooth_l1"])
def test_losses_by_hand(box_loss):
    anchors = torch.tensor([[0.0, 0.0, 10.0, 20.0], [30.0, 30.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
    true = torch.tensor([[1.0, 0.0, 11.0, 20.0]])
    offsets = torch.zeros(1, 3, 4)
    offsets[0, 0, 1] = 0.25
    logits = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    batch = {"image": torch.zeros(1, 1, 64, 64), "boxes": [true]}
    outputs = RegionProposal(Proposals(anchors, offsets, logits), box_loss=box_loss).train().evaluate(batch)
    box = 0.1**2 + 0.25**2  # one positive: x is off by a tenth of the width, y by a quarter of the height
    score = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2)) + math.log(2)) / 3
    assert outputs["box"].item() == pytest.approx(box / 2 if box_loss == "smooth_l1" else box, rel=1e-5)
    assert outputs["score"].item() == pytest.approx(score, rel=1e-5)
    assert outputs["loss"].item() == pytest.approx(outputs["box"].item() + score, rel=1e-5)
    drawn = ~outputs["target"].isnan().any(-1)
    assert outputs["preds"][drawn].tolist() == [[0.0, 5.0, 10.0, 25.0]]  # as moved
    assert outputs["target"][drawn].tolist() == true.tolist()


def test_beyond_one_the_authors_loss_is_the_distance():
    assert task()._box_loss(torch.tensor([[2.0, -3.0, 0.5, 1.0]])).item() == 2 + 3 + 0.25 + 1
    assert task()._box_loss(torch.zeros(0, 4)).item() == 0


def test_loss_is_finite_without_objects():
    batch = {"image": torch.rand(2, 1, 64, 64), "boxes": [torch.zeros(0, 4)] * 2}
    outputs = RegionProposal(RegionProposalNet()).train().evaluate(batch)
    assert outputs["box"] == 0
    assert torch.isfinite(outputs["loss"])


@pytest.mark.parametrize("output", [1, 2])
def test_outputs_of_nan_have_metrics_of_nan(output):
    answer = [
        torch.tensor([[0.0, 0.0, 10.0, 20.0], [30.0, 30.0, 40.0, 40.0]]),
        torch.zeros(1, 2, 4),
        torch.zeros(1, 2, 2),
    ]
    answer[output][0, 1, 0] = math.nan  # of one box of two
    batch = {"image": torch.zeros(1, 1, 64, 64), "boxes": [torch.tensor([[1.0, 0.0, 11.0, 20.0]])]}
    task = RegionProposal(Proposals(*answer)).eval()
    outputs = task.evaluate(batch)
    task.val_metrics.update(outputs["preds"], outputs["target"])
    assert all(value.isnan() for value in task.val_metrics.compute().values())


def test_the_authors_clip_leaves_the_targets_alone():
    """A digit outside of the image: the first proposal is taught to move to where the digit is, not to its sliver."""
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]])
    true = torch.tensor([[-20.0, 2.0, -10.0, 12.0]])
    batch = {"image": torch.zeros(1, 1, 64, 64), "boxes": [true]}
    net = Proposals(anchors, torch.zeros(1, 2, 4), torch.zeros(1, 2, 2))
    outputs = RegionProposal(net, clip=True, sampling="pairs").train().evaluate(batch)
    assert outputs["box"].item() == pytest.approx(2.0 + 0.2**2)  # 20 pixels to the left, 2 down, beyond one linear
    drawn = ~outputs["target"].isnan().any(-1)
    assert outputs["target"][drawn].tolist() == [[0.0, 2.0, 1.0, 12.0]]  # IoUs are with the sliver
    assert outputs["preds"][drawn].tolist() == [[0.0, 0.0, 10.0, 10.0]]
    evaluated = RegionProposal(net, clip=True).eval().evaluate(batch)
    assert evaluated["target"][0]["boxes"].tolist() == [[0.0, 2.0, 1.0, 12.0]]


def test_clipped_proposals_are_inside_and_suppress_each_other_as_clipped():
    anchors = torch.tensor([[-30.0, 0.0, 10.0, 20.0], [-10.0, 0.0, 10.0, 20.0], [30.0, 30.0, 90.0, 90.0]])
    logits = torch.tensor([[[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]]])
    net, batch = Proposals(anchors, torch.zeros(1, 3, 4), logits), {"image": torch.zeros(1, 1, 64, 64)}
    (clipped,) = RegionProposal(net, clip=True).predict_step(batch, 0)
    assert clipped["boxes"].tolist() == [[0, 0, 10, 20], [30, 30, 64, 64]]
    (plain,) = RegionProposal(net).predict_step(batch, 0)
    assert plain["boxes"].tolist() == anchors.tolist()


@pytest.mark.parametrize("sampling", ["boxes", "pairs"])
def test_losses_against_a_loop_over_all_samples(sampling):
    """With so few candidates that all of them are drawn, so that the loss does not depend on chance."""
    generator = torch.Generator().manual_seed(3)
    anchors = torch.cat([random_boxes(2, generator) * 8 + 2, random_boxes(8, generator) * 4 + 40])
    offsets, logits = 0.01 * torch.randn(2, 10, 4, generator=generator), torch.randn(2, 10, 2, generator=generator)
    true = [anchors[:2] + 0.1, torch.zeros(0, 4)]
    batch = {"image": torch.zeros(2, 1, 64, 64), "boxes": true}
    outputs = RegionProposal(Proposals(anchors, offsets, logits), sampling=sampling).train().evaluate(batch)
    box, score, positives, samples = 0.0, 0.0, 0, 0
    for image, number in ((0, 0), (0, 1)):
        (x1, y1, x2, y2), (a1, b1, a2, b2) = true[0][number].tolist(), anchors[number].tolist()
        code = [
            ((x1 + x2) - (a1 + a2)) / 2 / (a2 - a1), ((y1 + y2) - (b1 + b2)) / 2 / (b2 - b1),
            math.log((x2 - x1) / (a2 - a1)), math.log((y2 - y1) / (b2 - b1)),
        ]  # fmt: skip
        box += sum((mine - theirs) ** 2 for mine, theirs in zip(offsets[image, number].tolist(), code, strict=True))
        score += F.cross_entropy(logits[image, number], torch.tensor(0)).item()
        positives, samples = positives + 1, samples + 1
    if sampling == "boxes":  # all 8 and all 10 others are drawn; of the authors' six, which is chance
        for image, first in ((0, 2), (1, 0)):
            for number in range(first, 10):
                score += F.cross_entropy(logits[image, number], torch.tensor(1)).item()
                samples += 1
        assert outputs["score"].item() == pytest.approx(score / samples, rel=1e-5)
    assert outputs["box"].item() == pytest.approx(box / positives, rel=1e-3)


def test_gradients_reach_the_samples_only():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0], [5.0, 0.0, 15.0, 10.0]])
    offsets, logits = (torch.zeros(1, 3, n, requires_grad=True) for n in (4, 2))
    batch = {"image": torch.zeros(1, 1, 64, 64), "boxes": [torch.tensor([[1.0, 0.0, 11.0, 10.0]])]}
    RegionProposal(Proposals(anchors, offsets, logits)).train().evaluate(batch)["loss"].backward()
    assert offsets.grad[0].any(1).tolist() == [True, False, False]
    assert logits.grad[0].any(1).tolist() == [True, True, False]  # the third overlaps by a little: neither


def test_suppression_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(80, generator)
    logits = torch.randn(1, 80, 2, generator=generator)
    found = task(nms_threshold=0.3).propose(boxes[None], logits)[0]
    scores = logits[0].softmax(1)[:, 0]
    kept: list[int] = []
    for candidate in scores.argsort(descending=True).tolist():
        if all(iou(boxes[candidate].tolist(), boxes[other].tolist()) <= 0.3 for other in kept):
            kept.append(candidate)
    assert torch.equal(found["boxes"], boxes[kept[:10]])
    assert torch.equal(found["scores"], scores[kept[:10]])


def test_wrong_loss_is_named():
    with pytest.raises(ValueError, match="box_loss must be 'authors' or 'smooth_l1', got 'l1'"):
        task(box_loss="l1")
    with pytest.raises(ValueError, match="sampling must be 'boxes' or 'pairs', got 'anchors'"):
        task(sampling="anchors")


@pytest.mark.slow
def test_proposals_learn(tmp_path):
    """Before training the proposals are anchors, which cover little."""
    seed_everything(0)
    net = RegionProposal(RegionProposalNet(), optimizer=lambda groups: torch.optim.Adam(groups, lr=0.002))
    data = FieldOfMnistDataModule(num_images=800, num_eval_images=100, num_digits=1, canvas=64, batch_size=8)
    trainer = quiet(tmp_path, max_epochs=1)
    (before,) = trainer.test(net, data, verbose=False)
    trainer.fit(net, data)
    (after,) = trainer.test(net, data, verbose=False)
    assert before["test/best_iou"] < 0.3
    assert after["test/best_iou"] > 0.4
    assert after["test/box"] + after["test/score"] == pytest.approx(after["test/loss"], rel=1e-5)
