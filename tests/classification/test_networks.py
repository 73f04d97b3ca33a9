"""Tests of the classifiers: numbers of weights, agreement with torchvision, and which can distinguish positions."""

import pytest
import torch
from torchvision.models import resnet18, resnet50

from lightning_coordconv.classification import PlacedDigits, PooledClassifier, ResNetClassifier


def weights(net):
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.slow
def test_resnet50_has_the_papers_weights():
    with torch.device("meta"):
        plain, coordinates = ResNetClassifier(), ResNetClassifier(coordinates=True)
        assert weights(plain) == weights(resnet50()) == 25_557_032
    assert weights(coordinates.coordconv) == (3 + 3) * 8 + 8 == 56
    assert weights(coordinates.resnet.conv1) - weights(plain.resnet.conv1) == (8 - 3) * 64 * 7 * 7 == 15_680
    assert weights(coordinates) == 25_557_032 + 56 + 15_680


@pytest.mark.slow
def test_resnet_is_torchvisions():
    net = ResNetClassifier("resnet18", num_classes=7)
    reference = resnet18(num_classes=7)
    assert net.resnet.load_state_dict(reference.state_dict())
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.eval()(image), reference.eval()(image))


@pytest.mark.slow
def test_stem_is_a_convolution_over_rgb_and_i_j_r():
    net = ResNetClassifier("resnet18", num_classes=4, coordinates=True).eval()
    image = torch.randn(2, 3, 20, 32, generator=torch.Generator().manual_seed(0))
    i, j = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 32), indexing="ij")
    seen = torch.cat([image, torch.stack([i, j, (i**2 + j**2).sqrt()]).expand(2, -1, -1, -1)], dim=1)
    layer = net.coordconv
    kernel = torch.cat([layer.weight, layer.coord_weight], dim=1)[:, :, 0, 0]
    expected = torch.einsum("oc,bchw->bohw", kernel, seen) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(image), expected)
    torch.testing.assert_close(net(image), net.resnet(expected))
    assert net(image).shape == (2, 4)


def test_conv1_is_initialised_as_in_torchvision():
    torch.manual_seed(0)
    net = ResNetClassifier("resnet18", coordinates=True)
    assert net.resnet.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["resnet51", "vgg16", "resnet50 "])
def test_unknown_resnet(name):
    with pytest.raises(ValueError, match=rf"name must be one of resnet101, .*wide_resnet50_2, got '{name}'"):
        ResNetClassifier(name)


def logits_in_every_cell(net, margin):
    """One digit at the same place of each of the four cells."""
    dataset = PlacedDigits("val", margin=margin)
    top, left = (dataset.corners[0] - margin) % 16
    at = dataset.corners[0]
    patch = dataset.images[0, at[0] : at[0] + 14, at[1] : at[1] + 14].float() / 255
    canvases = torch.zeros(4, 1, dataset.images.shape[1], dataset.images.shape[2])
    for cell in range(4):
        row, column = margin + 16 * (cell // 2) + top, margin + 16 * (cell % 2) + left
        canvases[cell, 0, row : row + 14, column : column + 14] = patch
    with torch.no_grad():
        return net(canvases)


@pytest.mark.parametrize(
    ("coordinates", "padding_mode", "margin", "knows"),
    [
        (False, "zeros", 16, False),  # no unit sees both a digit and the border
        (False, "zeros", 0, True),  # the border leaks
        (False, "circular", 0, False),  # there is no border
        (True, "zeros", 16, True),
        (True, "circular", 0, True),
    ],
)
def test_which_networks_can_distinguish_cells(coordinates, padding_mode, margin, knows):
    torch.manual_seed(0)
    logits = logits_in_every_cell(PooledClassifier(4, coordinates, padding_mode), margin)
    same = torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-6)
    assert same != knows


def test_small_net_has_as_many_weights_as_documented():
    assert weights(PooledClassifier(4)) == 23_556
    assert weights(PooledClassifier(4, coordinates=True)) == 23_556 + 2 * 16 * 9
