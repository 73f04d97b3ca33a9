"""Small networks of CoordConv and of plain layers for tests, and the list of layer classes."""

import torch
import torch.multiprocessing
from torch import nn

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    FourierFeatures,
    Polar,
)

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
KINDS = [CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose1d, CoordConvTranspose2d, CoordConvTranspose3d]


class Net(nn.Module):
    """Both kinds of layer, strides, groups, padding modes, encodings and the concatenation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.add = AddCoords(with_r=True)
        self.down = CoordConv2d(6, 6, 3, stride=2, padding=1, with_r=True)
        self.mid = CoordConv2d(6, 6, 3, padding=1, padding_mode="replicate", groups=3, encoding=FourierFeatures(2))
        self.same = CoordConv2d(6, 4, 3, padding="same", encoding=Cartesian(align_corners=False, preserve_aspect=True))
        self.up = CoordConvTranspose2d(4, 2, 2, stride=2, encoding=Polar())

    def forward(self, x):
        return self.up(self.same(self.mid(self.down(self.add(x)).tanh()).tanh()).tanh())


def plain_net():
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh(), nn.ConvTranspose2d(6, 2, 2, stride=2))
