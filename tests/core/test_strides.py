"""Tests of the functions that find strides that are no powers of two, and bound the total one."""

import pytest
from torch import nn
from torchvision.models import resnet18

from lightning_coordconv.core.strides import other_strides, total_stride


def test_strides_that_are_no_powers_of_two_are_found_by_name():
    net = nn.ModuleDict(
        {
            "patch": nn.Conv2d(3, 4, 14, stride=14),
            "both": nn.Conv2d(3, 4, 3, stride=(2, 3)),
            "pool": nn.MaxPool2d(3),
            "even": nn.Conv2d(3, 4, 3, stride=2),
            "plain": nn.Linear(3, 4),
        }
    )
    assert other_strides(net) == {"patch": 14, "both": 6, "pool": 3}


@pytest.mark.parametrize(
    ("net", "stride"),
    [
        (nn.Conv2d(3, 3, 3), 1),
        (nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.MaxPool2d(2), nn.ConvTranspose2d(3, 3, 2, stride=2)), 4),
        (nn.Sequential(*(nn.MaxPool2d(2) for _ in range(9))), 32),
        (resnet18(), 32),
    ],
    ids=["convolution", "up and down", "deep", "resnet18"],
)
def test_the_total_stride_is_the_product_of_all_but_at_most_32(net, stride):
    assert total_stride(net) == stride
