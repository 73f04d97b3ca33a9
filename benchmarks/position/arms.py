"""Class and table of variants (arms) of a network by what it sees of position, and a function that converts to one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_coordconv.layers import (
    Cartesian,
    ConstantCoordinates,
    Encoding,
    FourierFeatures,
    LearnedGrid,
    Polar,
    Sinusoidal,
    to_coordconv,
)

Convolution = nn.Conv1d | nn.Conv2d

ENCODINGS: dict[str, Callable[[], Encoding]] = {
    "cartesian": Cartesian,
    "radius": lambda: Cartesian(with_r=True),
    "polar": Polar,
    "fourier": FourierFeatures,
    "sinusoidal": Sinusoidal,
    "learned_grid": lambda: LearnedGrid(2, (8, 8)),
    "constants": ConstantCoordinates,
}


@dataclass(frozen=True)
class Arm:
    """What one network of a task sees of position.

    Attributes:
        where: the convolutions that see coordinates: none, the first, or those that the advice names.
        encoding: what they see, a key of ``ENCODINGS``.
        zero_padding: whether convolutions pad with zeros; otherwise they pad circularly, which hides the border.
        framed: whether coordinates are those of the full image, or physical ones, where the task knows them.
    """

    where: Literal["none", "first", "advised"] = "none"
    encoding: str = "cartesian"
    zero_padding: bool = True
    framed: bool = True


ArmName = Literal[
    "plain", "zero_padding", "first", "advised", "first_unframed", "first_radius", "first_polar", "first_fourier",
    "first_sinusoidal", "first_learned_grid", "first_constants",
]  # fmt: skip

ARMS = {
    "plain": Arm(zero_padding=False),
    "zero_padding": Arm(),
    "first": Arm("first"),
    "advised": Arm("advised"),
    "first_unframed": Arm("first", framed=False),
    **{f"first_{name}": Arm("first", name) for name in ENCODINGS if name != "cartesian"},
}
"""By name. Those of ``CoordConv first`` with another encoding are called ``first_<encoding>``."""


def convert(net: nn.Module, arm: Arm, advised: Sequence[str]) -> nn.Module:
    """Make a plain network that of an arm, in place, and return it. The weights that it had stay as they are.

    Args:
        net: with convolutions that pad with zeros.
        arm: the arm.
        advised: names of the convolutions that the advice would convert.
    """
    if not arm.zero_padding:
        for module in net.modules():
            if isinstance(module, Convolution):
                module.padding_mode = "circular"
    if arm.where == "none":
        return net
    chosen = "first" if arm.where == "first" else list(advised)
    return to_coordconv(net, chosen, encoding=ENCODINGS[arm.encoding]())
