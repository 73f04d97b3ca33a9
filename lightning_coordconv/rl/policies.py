"""Feature extractors with coordinates for Stable-Baselines3's policies: NatureCNN, IMPALA's network, a small CNN.

The paper trains A2C on Atari games with "a CoordConv layer in an actor network". Its code was not published, so the
place of the layer is unknown, and so is whether the critic has one. Here the default is the first convolution, and SB3
shares the extractor between actor and critic; ``policy_kwargs={"share_features_extractor": False}`` separates them.

An extractor receives images (B, C, H, W) in [0, 1]. A stack of frames has C channels and one pair of coordinates.
SB3's orthogonal initialisation changes ``weight`` and ``bias``; the coordinate weights keep the scale that torch gives
them in a convolution over the concatenation.

All extractors repeat the arguments of ``NatureCNN``: editors and the reference show only what a signature names.

SB3 puts the linear heads directly on its own ``NatureCNN``, and two layers of 64 units between the heads and any other
extractor. To compare the two, give both ``policy_kwargs={"net_arch": []}``.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.extras import extra
from lightning_coordconv.layers import coordconv_layers, to_coordconv

with extra("rl", "policies"):
    from gymnasium import spaces
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN

Where = str | Sequence[str]
"""Convolutions with coordinates: ``"first"``, ``"last"``, ``"all"``, or (patterns of) names; ``[]`` for none."""
Pool = Literal["flatten", "mean", "max"]
"""How a map (B, C, H, W) becomes features: a linear layer that has a weight for each cell and channel (the position
can be read without coordinates), or the mean or the maximum over all cells, which discards the position."""


def _check_images(extractor: str, space: spaces.Space[object], normalized_image: bool) -> None:
    if not is_image_space(space, check_channels=False, normalized_image=normalized_image):
        raise ValueError(
            f"{extractor} needs images, uint8 in [0, 255] of shape (C, H, W), but the observations are {space}; for "
            "images in [0, 1] set normalized_image=True and, in the policy's arguments, normalize_images=False"
        )
    assert space.shape is not None
    channels, *size = space.shape
    if size[-1] < min(channels, size[0]):  # SB3 transposes images of uint8 with channels last, and no others
        raise ValueError(
            f"{extractor} needs images of shape (C, H, W), but the observations {space.shape} have channels last: "
            "transpose them in the environment, e.g. with gymnasium.wrappers.TransformObservation"
        )
    if channels == min(size) < max(size):  # SB3 takes the shortest axis of images of uint8 for the channels
        raise ValueError(
            f"{extractor} needs images of shape (C, H, W), but two axes of the observations {space.shape} are the "
            "shortest, so that either can be the channels: pad height and width beyond the channels, or observe (C, H, "
            "W) of float32 in [0, 1]"
        )


def _add_coordinates(extractor: nn.Module, where: Where, with_r: bool) -> None:
    if not where:
        return
    if where == "last":
        where = [[name for name, module in extractor.named_modules() if isinstance(module, nn.Conv2d)][-1]]
    to_coordconv(extractor, where, with_r=with_r)
    for layer in coordconv_layers(extractor).values():
        layer.reset_parameters()


def _pool(pool: Pool) -> nn.Sequential:
    layers = {"flatten": nn.Identity(), "mean": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1)}
    if pool not in layers:
        raise ValueError(f"pool must be one of {list(layers)}, got {pool!r}")
    return nn.Sequential(nn.ReLU(), layers[pool], nn.Flatten())


class CoordConvNatureCNN(CheckedArguments, NatureCNN):
    """SB3's ``NatureCNN`` with coordinates in some of its convolutions.

    Names and shapes are those of ``NatureCNN`` (Mnih et al., 2015) unless it pools, so the weights of a plain policy
    load with ``strict=True``: the coordinate weights become zeros, and the policy computes the same function.

    Args:
        observation_space: images (C, H, W).
        features_dim: number of features.
        normalized_image: whether the images are already in [0, 1].
        where: ``"first"`` (``cnn.0``), ``"last"`` (``cnn.4``), ``"all"``, or names among these and ``cnn.2``.
        with_r: also give these layers the radius.
        pool: ``"flatten"`` as in ``NatureCNN``, ``"mean"`` or ``"max"``; a linear layer follows.

    Raises:
        ValueError: if the observations are not images, or a name is not that of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 512,
        normalized_image: bool = False,
        where: Where = "first",
        with_r: bool = False,
        pool: Pool = "flatten",
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim, normalized_image)
        pooled = _pool(pool)
        if pool != "flatten":
            self.cnn = nn.Sequential(*self.cnn[:-2], *pooled)  # which has an activation and a flattening, too
            channels = cast(nn.Conv2d, self.cnn[4]).out_channels
            self.linear = nn.Sequential(nn.Linear(channels, features_dim), nn.ReLU())
        _add_coordinates(self, where, with_r)


class ImpalaCNN(CheckedArguments, BaseFeaturesExtractor):
    """The residual network of IMPALA (Espeholt et al., 2018, figure 3) with coordinates in some of its convolutions.

    Each stage is a 3x3 convolution, a 3x3 max pool of stride 2 and two residual blocks of two 3x3 convolutions. With
    ``pool="mean"`` it is the Impoola-CNN (Trumpp et al., 2025): the mean over all cells replaces the flattening.

    Args:
        observation_space: images (C, H, W).
        features_dim: number of features.
        normalized_image: whether the images are already in [0, 1].
        channels: channels of each stage.
        where: ``"first"``, ``"last"`` (the layer before the pool), ``"all"``, or names and patterns such as
            ``"stages.*.0"``; ``[]`` for the plain network.
        with_r: also give these layers the radius.
        pool: ``"flatten"``, ``"mean"`` or ``"max"``; a linear layer follows.

    Raises:
        ValueError: if the observations are not images, or a name is not that of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 256,
        normalized_image: bool = False,
        channels: Sequence[int] = (16, 32, 32),
        where: Where = "first",
        with_r: bool = False,
        pool: Pool = "flatten",
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        inputs = (observation_space.shape[0], *channels[:-1])
        self.stages = nn.Sequential(*map(_stage, inputs, channels))
        self.pool = _pool(pool)
        with torch.no_grad():
            pooled = self.pool(self.stages(torch.zeros(1, *observation_space.shape))).numel()
        self.linear = nn.Sequential(nn.Linear(pooled, features_dim), nn.ReLU())
        _add_coordinates(self, where, with_r)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the features (B, features_dim) of images (B, C, H, W)."""
        return self.linear(self.pool(self.stages(observations)))


class SmallCNN(CheckedArguments, BaseFeaturesExtractor):
    """Three small convolutions without padding, and a pool over the whole image.

    A 3x3 convolution and two 1x1 convolutions: what a cell of the last map sees ends after 3x3 pixels and never reaches
    beyond the border. With ``pool="max"`` or ``"mean"`` the plain network therefore knows what an image shows, but not
    where.

    Args:
        observation_space: images (C, H, W).
        features_dim: number of features, and channels of the last convolution.
        normalized_image: whether the images are already in [0, 1].
        where: ``"first"`` (``cnn.0``), ``"last"`` (``cnn.4``, the layer before the pool), ``"all"``, or names among
            ``cnn.0``, ``cnn.2``, ``cnn.4``; ``[]`` for none.
        with_r: also give these layers the radius.
        pool: ``"max"``, ``"mean"``, or ``"flatten"``, which a linear layer follows.
        stride: of the 3x3 convolution, in pixels.

    Raises:
        ValueError: if the observations are not images, or a name is not that of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 64,
        normalized_image: bool = False,
        where: Where = "first",
        with_r: bool = False,
        pool: Pool = "max",
        stride: int = 3,
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        channels, *size = observation_space.shape
        self.cnn = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=3, stride=stride),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(32, features_dim, kernel_size=1),
        )
        self.pool = _pool(pool)
        cells = math.prod((pixels - 3) // stride + 1 for pixels in size)
        self.linear = (
            nn.Sequential(nn.Linear(cells * features_dim, features_dim), nn.ReLU())
            if pool == "flatten"
            else nn.Identity()
        )
        _add_coordinates(self, where, with_r)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the features (B, features_dim) of images (B, C, H, W)."""
        return self.linear(self.pool(self.cnn(observations)))


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        _ResidualBlock(out_channels),
        _ResidualBlock(out_channels),
    )
