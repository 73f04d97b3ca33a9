"""Tests that segmentation networks keep their outputs when they get coordinates, and that unknown names are refused."""

from typing import get_args

import pytest
import torch

from lightning_coordconv import coordconv_layers
from lightning_coordconv.segmentation import SegmentationNetwork
from lightning_coordconv.segmentation.networks import Name


@pytest.mark.slow
@pytest.mark.parametrize("coordinates", ["none", "first", "head"])
@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_networks_keep_their_function_when_they_get_coordinates(name, coordinates):
    torch.manual_seed(0)
    plain = SegmentationNetwork(name, 3).eval()
    network = SegmentationNetwork(name, 3, coordinates).eval()
    network.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(image)["out"], plain(image)["out"])
    assert len(coordconv_layers(network)) == (coordinates != "none")


@pytest.mark.parametrize(("name", "value"), [("name", "unet"), ("coordinates", "tail"), ("weights", "None")])
def test_unknown_networks_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be (None or )?one of .*, got '{value}'"):
        SegmentationNetwork(**{name: value})


@pytest.mark.parametrize("name", get_args(Name))
def test_unknown_weights_of_a_backbone_are_named_beside_those_that_there_are(name):
    with pytest.raises(ValueError, match=r"^weights_backbone must be None or one of .*IMAGENET1K_V2.*, got 'V9'$"):
        SegmentationNetwork(name, weights_backbone="V9")
