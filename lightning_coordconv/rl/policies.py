"""Features extractors that see where they are, for policies of Stable-Baselines3.

The paper trains A2C on Atari games with "a CoordConv layer in an actor network", and no code of it was published: where
the layer goes, and whether the critic has it, is not said. Here it is the first convolution by default, and SB3 shares
the extractor between actor and critic; ``policy_kwargs={"share_features_extractor": False}`` gives each its own.

An extractor sees images (B, C, H, W) in [0, 1]: a stack of frames is C channels, with one pair of coordinates. SB3's
orthogonal initialisation reaches ``weight`` and ``bias``; the coordinate weights keep the scale that torch would give
them in a convolution over the concatenation.

SB3 follows its own ``NatureCNN`` by the linear heads alone, and any other extractor by two layers of 64 units first.
To compare the two give both ``policy_kwargs={"net_arch": []}``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_coordconv.core.extras import extra
from lightning_coordconv.layers import coordconv_layers, to_coordconv

with extra("rl", "policies"):
    from gymnasium import spaces
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN

Where = str | Sequence[str]
"""Which convolutions see coordinates: ``"first"``, ``"all"``, or names and patterns of names; ``[]`` for none."""


def _check_images(extractor: str, space: spaces.Space[object], normalized_image: bool) -> None:
    if not is_image_space(space, check_channels=False, normalized_image=normalized_image):
        raise ValueError(
            f"{extractor} looks at images, uint8 in [0, 255] of shape (C, H, W), and the observations are {space}; "
            "of images in [0, 1] say normalized_image=True, and normalize_images=False to the policy"
        )


def _add_coordinates(extractor: nn.Module, where: Where, with_r: bool) -> None:
    if not where:
        return
    to_coordconv(extractor, where, with_r=with_r)
    for layer in coordconv_layers(extractor).values():
        layer.reset_parameters()


class CoordConvNatureCNN(NatureCNN):
    """SB3's ``NatureCNN``, some of whose convolutions see coordinates.

    Names and shapes are those of ``NatureCNN`` (Mnih et al., 2015), so the weights of a plain policy load with
    ``strict=True``: the coordinate weights become zeros, and the policy computes what that one did.

    Args:
        observation_space: images (C, H, W).
        features_dim: how many features it tells.
        normalized_image: whether the images are in [0, 1] already.
        where: ``"first"`` (``cnn.0``), ``"all"``, or names among ``cnn.0``, ``cnn.2`` and ``cnn.4``.
        with_r: also give these layers the radius.

    Raises:
        ValueError: if the observations are no images, or a name is none of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 512,
        normalized_image: bool = False,
        where: Where = "first",
        with_r: bool = False,
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim, normalized_image)
        _add_coordinates(self, where, with_r)


class ImpalaCNN(BaseFeaturesExtractor):
    """The residual network of IMPALA (Espeholt et al., 2018, figure 3), some of whose convolutions see coordinates.

    Each stage is a 3x3 convolution, a 3x3 max pool of stride 2 and two residual blocks of two 3x3 convolutions.

    Args:
        observation_space: images (C, H, W).
        features_dim: how many features it tells.
        normalized_image: whether the images are in [0, 1] already.
        channels: of each stage.
        where: ``"first"``, ``"all"``, or names and patterns such as ``"stages.*.0"``; ``[]`` for the plain network.
        with_r: also give these layers the radius.

    Raises:
        ValueError: if the observations are no images, or a name is none of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 256,
        normalized_image: bool = False,
        channels: Sequence[int] = (16, 32, 32),
        where: Where = "first",
        with_r: bool = False,
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        inputs = (observation_space.shape[0], *channels[:-1])
        self.stages = nn.Sequential(*map(_stage, inputs, channels))
        with torch.no_grad():
            flat = self.stages(torch.zeros(1, *observation_space.shape)).numel()
        self.linear = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(flat, features_dim), nn.ReLU())
        _add_coordinates(self, where, with_r)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the features (B, features_dim) of images (B, C, H, W)."""
        return self.linear(self.stages(observations))


class SmallCNN(BaseFeaturesExtractor):
    """Three small convolutions without padding and a global max pool: it tells what there is, and not where.

    With coordinates it can: of all positions at which a feature is seen, the maximum tells the outermost. Without the
    pool it can, too, by a weight for each position of each feature.

    Args:
        observation_space: images (C, H, W).
        features_dim: how many features it tells.
        normalized_image: whether the images are in [0, 1] already.
        where: ``"first"``, ``"all"``, or names among ``cnn.0``, ``cnn.2`` and ``cnn.4``; ``[]`` for none.
        with_r: also give these layers the radius.
        pool: whether the maximum over the image is taken, or a linear layer sees all of it.

    Raises:
        ValueError: if the observations are no images, or a name is none of a convolution.
    """

    def __init__(
        self,
        observation_space: spaces.Space[object],
        features_dim: int = 64,
        normalized_image: bool = False,
        where: Where = "first",
        with_r: bool = False,
        pool: bool = True,
    ) -> None:
        _check_images(type(self).__name__, observation_space, normalized_image)
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        channels, height, width = observation_space.shape
        self.cnn = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=3, stride=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(32, features_dim, kernel_size=1),
        )
        cells = (height // 3) * (width // 3)
        self.head = (
            nn.AdaptiveMaxPool2d(1)
            if pool
            else nn.Sequential(nn.Flatten(), nn.Linear(cells * features_dim, features_dim))
        )
        _add_coordinates(self, where, with_r)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the features (B, features_dim) of images (B, C, H, W)."""
        return self.head(self.cnn(observations)).flatten(1).relu()


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
