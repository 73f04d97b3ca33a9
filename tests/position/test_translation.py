"""Tests of the measured change of a model's prediction when content moves, for models whose answer is known."""

import pytest
import timm
import torch
from torch import nn

from lightning_coordconv import CoordConv2d, to_coordconv
from lightning_coordconv.classification import PooledClassifier
from lightning_coordconv.coordinates import PoolingRegressor
from lightning_coordconv.position import measure_translation
from lightning_coordconv.position.placement import place


def images(count: int, size: int = 64) -> list[torch.Tensor]:
    """One bright square each, at random places."""
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(count, 1, size, size)
    for image in found:
        row, column = torch.randint(size - 8, (2,), generator=generator).tolist()
        image[:, row : row + 8, column : column + 8] = 0.5 + 0.5 * torch.rand((), generator=generator)
    return list(found)


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [48, 64, 96])
def test_a_pool_over_the_image_hides_position(size):
    assert measure_translation(PooledClassifier(4).eval(), images(6, size)) < 1e-3


@pytest.mark.parametrize("pools", [True, False])
def test_one_number_an_image_is_a_vector_of_one(pools):
    """(B,) as (B, 1), also in the choice of convolutions; and what a squeeze of both makes of one image."""
    pool = nn.AdaptiveAvgPool2d(1) if pools else nn.AvgPool2d(8)
    column = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(1)).eval()
    column(images(1)[0][None])
    expected = measure_translation(column, images(6))
    assert expected is not None
    assert (expected < 1e-3) == pools
    for shape in ((-1,), ()):
        flat = nn.Sequential(column, nn.Flatten(0)) if shape else nn.Sequential(column, Squeeze())
        assert measure_translation(flat, images(6)) == expected
        assert (
            place(flat, lambda flat=flat: flat(images(1)[0][None])).reason == "the first, and the last before the pool"
        )


def test_convolutions_with_coordinates_are_not_called_the_first():
    classifier = nn.Sequential(
        CoordConv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    placement = place(classifier, lambda: classifier(images(1)[0][None]))
    assert placement.names == ["1", "2"]
    assert placement.seeing == ["0"]
    assert placement.reason == "of the plain convolutions the first, and the last before the pool"


@pytest.mark.parametrize("stride", [3, (3, 3), (5, 2)])
def test_strides_that_are_no_powers_of_two_hide_it_too(stride):
    """A small object is seen at the same place of a cell after the move."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=stride, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    dots = torch.zeros(8, 1, 42, 42)
    for number, image in enumerate(dots):
        image[:, 3 * number + 5 : 3 * number + 7, 10:12] = 0.3 + number / 10
    assert measure_translation(network.eval(), list(dots)) < 1e-3


@pytest.mark.parametrize(
    "readout", [lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 32 * 32, 3)), nn.Flatten], ids=["linear", "flat"]
)
def test_a_readout_of_all_cells_tells_position(readout):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), readout()).eval()
    assert measure_translation(network, images(6)) > 0.5
    assert measure_translation(PoolingRegressor().eval(), images(6)) > 0.5


def test_coordinates_before_the_pool_tell_position():
    network = PooledClassifier(4).eval()
    to_coordconv(network, "first")
    nn.init.normal_(network[0].coord_weight)
    assert measure_translation(network, images(6)) > 0.5


def test_without_padding_the_seam_is_a_small_change():
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    assert measure_translation(network.eval(), images(12)) < 0.4


def test_what_cannot_be_measured_is_none():
    assert measure_translation(nn.Conv2d(1, 2, 3).eval(), images(3)) is None
    assert measure_translation(PooledClassifier(4).eval(), [*images(2), *images(1, 48)]) is None
    assert measure_translation(PooledClassifier(4).eval(), [torch.zeros(1, 64, 64)] * 3) is None


def test_padding_is_as_it_was():
    network = PooledClassifier(4).eval()
    measure_translation(network, images(2))
    assert {m.padding_mode for m in network.modules() if isinstance(m, nn.Conv2d)} == {"zeros"}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "convnext_atto", "efficientnet_b0"])
def test_networks_of_timm_that_pool_hide_position_of_small_images_too(network):
    """Their total stride is 32, as large as the images, and ResNets have a maximum pool with padding."""
    model = timm.create_model(network).eval()
    assert measure_translation(model, list(torch.randn(4, 3, 32, 32))) < 1e-3
    assert {module.padding for module in model.modules() if isinstance(module, nn.MaxPool2d)} <= {1}
