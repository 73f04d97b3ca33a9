"""Tests of the region-proposal network and the digit Faster R-CNN: parameter counts, anchors, outputs, coordinates."""

import pytest
import torch
from torch import nn

from lightning_coordconv import coordconv_layers
from lightning_coordconv.detection import DigitFasterRCNN, RegionProposalNet
from lightning_coordconv.detection.region_proposal import PLACES, SIDES, ZeroToOne


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("coordinates", "weights"), [((), 81_590), (PLACES, 83_838), (("image",), 83_190)])
def test_weights_are_as_many_as_the_paper_s(coordinates, weights):
    assert count(RegionProposalNet(coordinates)) == weights


@pytest.mark.parametrize(("same", "first", "cells"), [(False, 8, 13), (True, 2, 16)])
def test_anchors_are_nine_a_cell_around_what_it_sees(same, first, cells):
    anchors = RegionProposalNet(same_padding=same)(torch.zeros(1, 1, 64, 64)).anchors
    expected = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for y in range(first, first + 4 * cells, 4)
        for x in range(first, first + 4 * cells, 4)
        for h, w in SIDES
    ]
    assert len(anchors) == {13: 1521, 16: 2304}[cells]
    torch.testing.assert_close(anchors, torch.tensor(expected))


@pytest.mark.parametrize("same", [False, True])
def test_a_cell_sees_the_pixels_around_its_anchors(same):
    net = RegionProposalNet((), same)
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    net.backbone(image)[0, :, 6, 7].sum().backward()
    rows, columns = (image.grad[0, 0].abs().sum(axis).nonzero() for axis in (1, 0))
    first = 2 if same else 8
    assert ((rows.min() + rows.max() + 1) / 2 - (first + 4 * 6)).abs() <= 1  # a maximum has one gradient, not two
    assert ((columns.min() + columns.max() + 1) / 2 - (first + 4 * 7)).abs() <= 1


def test_first_proposals_are_the_anchors():
    offsets = RegionProposalNet()(torch.rand(2, 1, 64, 64)).offsets
    assert offsets.shape == (2, 1521, 4)
    assert not offsets.any()


def test_rows_are_in_the_order_of_the_anchors():
    net = RegionProposalNet(())
    for layer, numbers in ((net.offsets[-1], 4), (net.scores, 2)):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.arange(9.0 * numbers)
    proposals = net(torch.rand(1, 1, 64, 64))
    assert proposals.offsets[0, 9:18].tolist() == torch.arange(36.0).view(9, 4).tolist()
    assert proposals.logits[0, 9:18].tolist() == torch.arange(18.0).view(9, 2).tolist()
    net.scores.weight.data[2 * 3] = 1.0  # the object's score of the fourth anchor of each cell
    features = net.features(net.backbone(torch.ones(1, 1, 64, 64) * torch.arange(64.0)))
    proposals = net(torch.ones(1, 1, 64, 64) * torch.arange(64.0))
    expected = (features.sum(1) + 6).flatten()
    torch.testing.assert_close(proposals.logits[0, 3::9, 0], expected)


@pytest.mark.parametrize("coordinates", [["image"], ["features", "offsets"], list(PLACES)])
def test_coordinates_go_where_they_are_wanted(coordinates):
    names = {"image": "backbone.0", "features": "features.0", "offsets": "offsets.2"}
    assert list(coordconv_layers(RegionProposalNet(coordinates))) == [names[place] for place in coordinates]


def test_zero_to_one():
    net = RegionProposalNet(["image"], encoding=ZeroToOne())
    layer = net.backbone[0]
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.coord_weight)
    layer.coord_weight.data[0, 0, 2, 2] = 1.0  # the row at the centre of the kernel
    seen = layer(torch.zeros(1, 1, 64, 64))[0, 0]
    torch.testing.assert_close(seen[:, 0], torch.arange(2.0, 62.0) / 63)


@pytest.mark.parametrize("coordinates", [["stem"], ["image", "image"]])
def test_wrong_places_are_named(coordinates):
    with pytest.raises(ValueError, match=r"coordinates must be some of .* each once, got \['"):
        RegionProposalNet(coordinates)


def test_whole_detector_differs_by_three_convolutions():
    plain, coordconv = DigitFasterRCNN(coordinates=False), DigitFasterRCNN(coordinates=True)
    assert list(coordconv_layers(coordconv)) == ["backbone.0", "rpn.head.conv.0.0", "rpn.head.bbox_pred"]
    assert set(coordconv.state_dict()) - set(plain.state_dict()) == {
        f"{name}.coord_weight" for name in coordconv_layers(coordconv)
    }
    coordconv.load_state_dict(plain.state_dict())
    images = list(torch.rand(2, 1, 64, 64))
    for mine, theirs in zip(coordconv.eval()(images), plain.eval()(images), strict=True):
        for key, value in theirs.items():
            assert torch.equal(mine[key], value)


@pytest.mark.parametrize("coordinates", [False, True])
def test_whole_detector_has_an_output_for_each_anchor_of_the_image(coordinates):
    net, outputs, anchors = DigitFasterRCNN(coordinates).eval(), [], []
    net.rpn.head.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    net.rpn.anchor_generator.register_forward_hook(lambda _, inputs, output: anchors.extend(output))
    net(list(torch.rand(2, 1, 64, 64)))
    (((logits,), (offsets,)),) = outputs
    assert logits.shape == (2, len(SIDES), 16, 16)
    assert offsets.shape == (2, 4 * len(SIDES), 16, 16)
    assert [tuple(boxes.shape) for boxes in anchors] == [(len(SIDES) * 16 * 16, 4)] * 2
    assert torch.equal(anchors[0][5] + torch.tensor([4.0, 0.0, 4.0, 0.0]), anchors[0][5 + len(SIDES)])


def test_whole_detector_trains_also_without_objects():
    targets = [
        {"boxes": torch.tensor([[4.0, 5.0, 22.0, 25.0]]), "labels": torch.tensor([3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = DigitFasterRCNN()(list(torch.rand(2, 1, 64, 64)), targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.isfinite(loss) for loss in losses.values())
