"""Generators and discriminators of the paper's GANs (section 5.3), at any width and for any canvas."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_coordconv.core.initialisation import glorot_uniform_, he_normal_
from lightning_coordconv.layers import ConstantCoordinates, CoordConv2d, CoordConvTranspose2d, TiledCoordConv2d

Norm = Literal["batch", "spectral", "none"]
NORMS: tuple[Norm, ...] = ("batch", "spectral", "none")


class ConvGenerator(nn.Module):
    """DCGAN's generator: a dense layer to a 4x4 map, then transposed 5x5 convolutions that double its size.

    For a canvas of 64 the maps have 8w, 4w, 2w, w and 3 channels, with batch norm and ReLU after all but the last:
    6,413,315 weights for ``latent_size=256, width=64``, the paper's. A smaller canvas has fewer layers. torch crops two
    pixels in front and one behind, where TensorFlow does it the other way round.

    Args:
        latent_size: length of the vectors that images are made of.
        canvas: height and width of the images in pixels, a power of two.
        width: channels w of the last but one map.
        coordinates: make the convolutions CoordConvs; not in the paper's tables, a control.

    Raises:
        ValueError: for a canvas that is no power of two from 8 on.
    """

    def __init__(self, latent_size: int = 256, canvas: int = 64, width: int = 64, coordinates: bool = False) -> None:
        super().__init__()
        channels = [*doublings(canvas, width)[::-1], 3]
        layer = CoordConvTranspose2d if coordinates else nn.ConvTranspose2d
        self.latent_size = latent_size
        self.project = nn.Sequential(nn.Linear(latent_size, 16 * channels[0]), nn.Unflatten(1, (channels[0], 4, 4)))
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(channels):
            double = layer(inputs, outputs, 5, stride=2, padding=2, output_padding=1)
            self.layers.extend([nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), double])
        glorot_uniform_(self)

    def forward(self, latent: Tensor) -> Tensor:
        """Map vectors (B, latent_size) to images (B, 3, H, W) before tanh.

        Raises:
            ValueError: for vectors of another length.
        """
        if latent.ndim != 2 or latent.shape[1] != self.latent_size:
            raise ValueError(f"expected vectors (B, {self.latent_size}), got shape {tuple(latent.shape)}")
        image: Tensor = self.layers(self.project(latent))
        return image


class CoordConvGenerator(nn.Sequential):
    """The paper's CoordConv generator: a vector and the coordinates at every pixel, 1x1 and then 3x3 convolutions.

    Layers of 8w, 4w, 4w, 2w and w channels (1x1), w and w (3x3), 3 (1x1); ReLU after all but the last, no batch norm.
    444,931 weights for ``latent_size=256, width=64``, the paper's. The tiling is folded into the first layer.

    Args:
        latent_size: length of the vectors that images are made of.
        canvas: height and width of the images in pixels.
        width: channels w of the last but one map.
        coordinates: False puts constants in their place: a control that, but for the border that its 3x3 convolutions
            see, paints the same everywhere.
    """

    def __init__(self, latent_size: int = 256, canvas: int = 64, width: int = 64, coordinates: bool = True) -> None:
        encoding = None if coordinates else ConstantCoordinates()
        super().__init__(
            TiledCoordConv2d(latent_size, 8 * width, canvas, encoding=encoding),
            nn.ReLU(inplace=True),
            nn.Conv2d(8 * width, 4 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, 4 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 3, 1),
        )
        he_normal_(self)


class ConvDiscriminator(nn.Module):
    """DCGAN's discriminator: strided 5x5 convolutions down to a 4x4 map, then one number.

    For a canvas of 64 the maps have w, 2w, 4w and 8w channels, with a leaky ReLU of slope 0.2 after each. 4,316,545
    weights for ``width=64, norm="batch"``, the paper's; 4,319,745 with coordinates.

    Args:
        canvas: height and width of the images in pixels, a power of two.
        width: channels w of the first map.
        coordinates: make the first convolution a CoordConv, as in the paper's CoordConv GAN.
        norm: ``"batch"``: batch norm after all convolutions but the first, the paper's. ``"spectral"``: every weight is
            divided by its largest singular value, those of the coordinates by their own (Miyato et al., 2018).
            ``"none"``.

    Raises:
        ValueError: for a canvas that is no power of two from 8 on, and an unknown norm.
    """

    def __init__(self, canvas: int = 64, width: int = 64, coordinates: bool = False, norm: Norm = "batch") -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {norm!r}")
        self.canvas = canvas
        self.layers = halvings(canvas, width, coordinates, batch_norm=norm == "batch")
        self.decide = nn.Linear(16 * doublings(canvas, width)[-1], 1)
        glorot_uniform_(self)
        if norm == "spectral":
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    for name in [name for name, _ in module.named_parameters(recurse=False) if name != "bias"]:
                        spectral_norm(module, name)

    def features(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to what the decision is made from, (B, F).

        Raises:
            ValueError: for images of another size or number of channels.
        """
        if image.shape[1:] != (3, self.canvas, self.canvas):
            raise ValueError(f"expected images (B, 3, {self.canvas}, {self.canvas}), got shape {tuple(image.shape)}")
        features: Tensor = self.layers(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B,), high for real ones."""
        logit: Tensor = self.decide(self.features(image))
        return logit.squeeze(1)


def halvings(canvas: int, width: int, coordinates: bool, batch_norm: bool) -> nn.Sequential:
    """Return strided 5x5 convolutions from an RGB canvas down to a 4x4 map, flattened: DCGAN's trunk."""
    channels = [3, *doublings(canvas, width)]
    layers = nn.Sequential()
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        layer = CoordConv2d if coordinates and i == 0 else nn.Conv2d
        layers.append(layer(inputs, outputs, 5, stride=2, padding=2))
        if batch_norm and i > 0:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers.append(nn.Flatten())


def doublings(canvas: int, width: int) -> list[int]:
    """Return the channels of the maps between a canvas and 4x4, largest map first.

    Raises:
        ValueError: for a canvas that is no power of two from 8 on.
    """
    depth = canvas.bit_length() - 3
    if depth < 1 or canvas != 4 * 2**depth:
        raise ValueError(f"canvas must be a power of two from 8 on, got {canvas}")
    return [width * 2**i for i in range(depth)]


class ConvEncoder(nn.Module):
    """The trunk of DCGAN's discriminator, and a dense layer. Ours: the paper does not describe its VAE.

    Args:
        latent_size: length of the latent vectors.
        canvas: height and width of the images in pixels, a power of two.
        width: channels of the first map.
        coordinates: make the first convolution a CoordConv.

    Raises:
        ValueError: for a canvas that is no power of two from 8 on.
    """

    def __init__(self, latent_size: int = 32, canvas: int = 64, width: int = 64, coordinates: bool = False) -> None:
        super().__init__()
        self.layers = halvings(canvas, width, coordinates, batch_norm=True)
        self.describe = nn.Linear(16 * doublings(canvas, width)[-1], 2 * latent_size)
        glorot_uniform_(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) to means and logarithms of variances, both (B, latent_size)."""
        mean, log_variance = self.describe(self.layers(image)).chunk(2, dim=1)
        return mean, log_variance
