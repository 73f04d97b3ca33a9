"""Tests of the function that finds strides that are no powers of two."""

from torch import nn

from lightning_coordconv.core.strides import other_strides


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
