"""Networks of GANs and VAEs, plain and with coordinates: generators, discriminators, encoders and decoders."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.initialisation import glorot_uniform_, he_normal_
from lightning_coordconv.layers import ConstantCoordinates, CoordConv2d, CoordConvTranspose2d, TiledCoordConv2d

Norm = Literal["batch", "spectral", "none"]
NORMS: tuple[Norm, ...] = ("batch", "spectral", "none")


@remember_arguments
class ConvGenerator(CheckedArguments, nn.Module):
    """DCGAN's generator: a dense layer to a 4x4 map, then transposed 5x5 convolutions that double its size.

    For a canvas of 64 the maps have 8w, 4w, 2w, w and 3 channels, with batch norm and ReLU after all but the last:
    6,413,315 weights for ``latent_size=256, width=64``, the paper's. A smaller canvas has fewer layers. torch crops two
    pixels at the start of each axis and one at its end, TensorFlow one at the start and two at the end.

    Args:
        latent_size: length of the latent vectors, at least 1.
        canvas: height and width of the images in pixels, a power of two from 8 on.
        width: channels w of the last hidden map, at least 1.
        coordinates: make the convolutions CoordConvs, a control; the paper's generator has none.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, latent_size: int = 256, canvas: int = 64, width: int = 64, coordinates: bool = False) -> None:
        super().__init__()
        check_sizes(latent_size=latent_size, width=width)
        channels = [*map_channels(canvas, width)[::-1], 3]
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
        check_latent(latent, self.latent_size)
        image: Tensor = self.layers(self.project(latent))
        return image


@remember_arguments
class CoordConvGenerator(CheckedArguments, nn.Sequential):
    """The paper's CoordConv generator: 1x1, then 3x3 convolutions of the vector and the coordinates at every pixel.

    Layers of 8w, 4w, 4w, 2w and w channels (1x1), w and w (3x3), 3 (1x1); ReLU after all but the last.
    444,931 weights for ``latent_size=256, width=64``, the paper's. The first layer takes the vector without tiling it.

    Args:
        latent_size: length of the latent vectors, at least 1.
        canvas: height and width of the images in pixels, at least 1.
        width: channels w of the last hidden map, at least 1.
        coordinates: False replaces the coordinates by constants, a control: away from the border, whose zeros the 3x3
            convolutions see, every pixel of an image is the same.
        norm: ``"none"``, the paper's, or ``"batch"``: batch norm after all layers but the last, as in
            :class:`ConvGenerator`. Without it the output before tanh grows from layer to layer, and where it saturates
            in every pixel, training ends in empty images (docs/gan_collapse.png).

    Raises:
        ValueError: for numbers out of range, or an unknown norm.
    """

    def __init__(
        self,
        latent_size: int = 256,
        canvas: int = 64,
        width: int = 64,
        coordinates: bool = True,
        norm: Literal["batch", "none"] = "none",
    ) -> None:
        check_sizes(latent_size=latent_size, canvas=canvas, width=width)
        if norm not in ("batch", "none"):
            raise ValueError(f"norm must be one of batch, none, got {norm!r}")
        encoding = None if coordinates else ConstantCoordinates()
        layers: list[nn.Conv2d] = [TiledCoordConv2d(latent_size, 8 * width, canvas, encoding=encoding)]
        layers += [nn.Conv2d(a * width, b * width, 1) for a, b in pairwise((8, 4, 4, 2, 1))]
        layers += [nn.Conv2d(width, width, 3, padding=1) for _ in range(2)]
        super().__init__()
        for layer in layers:
            normalised = [nn.BatchNorm2d(layer.out_channels)] if norm == "batch" else []
            self.extend([layer, *normalised, nn.ReLU(inplace=True)])
        self.append(nn.Conv2d(width, 3, 1))
        he_normal_(self)


@remember_arguments
class SpatialBroadcastDecoder(CheckedArguments, nn.Module):
    """A decoder that repeats the latent vector at every pixel and appends coordinates (Watters et al., 2019).

    Four 3x3 CoordConvs and convolutions with ReLU, then a 1x1 convolution to RGB. They have no padding, as in MONet
    (Burgess et al., 2019): the vector is repeated over a map that is 8 pixels larger, so that only the coordinates tell
    positions apart, never a border of zeros. Coordinates run from -1 to 1 over that larger map.

    Args:
        latent_size: length of the latent vectors, at least 1.
        canvas: height and width of the images in pixels, at least 1.
        width: channels of the hidden maps, at least 1.
        coordinates: False replaces the coordinates by constants, a control: every pixel of an image is the same.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, latent_size: int = 32, canvas: int = 64, width: int = 64, coordinates: bool = True) -> None:
        super().__init__()
        check_sizes(latent_size=latent_size, canvas=canvas, width=width)
        self.latent_size = latent_size
        self.size = canvas + 8
        encoding = None if coordinates else ConstantCoordinates()
        self.layers = nn.Sequential(CoordConv2d(latent_size, width, 3, encoding=encoding), nn.ReLU(inplace=True))
        for _ in range(3):
            self.layers.extend([nn.Conv2d(width, width, 3), nn.ReLU(inplace=True)])
        self.layers.append(nn.Conv2d(width, 3, 1))
        he_normal_(self)

    def forward(self, latent: Tensor) -> Tensor:
        """Map vectors (B, latent_size) to images (B, 3, H, W) before tanh.

        Raises:
            ValueError: for vectors of another length.
        """
        check_latent(latent, self.latent_size)
        image: Tensor = self.layers(latent[:, :, None, None].expand(-1, -1, self.size, self.size))
        return image


@remember_arguments
class ConvDiscriminator(CheckedArguments, nn.Module):
    """DCGAN's discriminator: strided 5x5 convolutions down to a 4x4 map, then a dense layer to one logit.

    For a canvas of 64 the maps have w, 2w, 4w and 8w channels, with a leaky ReLU of slope 0.2 after each. 4,316,545
    weights for ``width=64, norm="batch"``, the paper's; 4,319,745 with coordinates.

    Args:
        canvas: height and width of the images in pixels, a power of two from 8 on.
        width: channels w of the first map, at least 1.
        coordinates: make the first convolution a CoordConv, as in the paper's CoordConv GAN.
        norm: ``"batch"``: batch norm after all convolutions but the first, the paper's. ``"spectral"``: every weight
            matrix is divided by its largest singular value (Miyato et al., 2018), the weights of coordinates
            separately. ``"none"``.

    Raises:
        ValueError: for numbers out of range, or an unknown norm.
    """

    def __init__(self, canvas: int = 64, width: int = 64, coordinates: bool = False, norm: Norm = "batch") -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
        self.canvas = canvas
        self.layers = downsampling(canvas, width, coordinates, batch_norm=norm == "batch")
        self.logit = nn.Linear(16 * map_channels(canvas, width)[-1], 1)
        glorot_uniform_(self)
        if norm == "spectral":
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    for name in [name for name, _ in module.named_parameters(recurse=False) if name != "bias"]:
                        spectral_norm(module, name)

    def features(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the input of the last layer, (B, F).

        Raises:
            ValueError: for images of another size or number of channels.
        """
        if image.shape[1:] != (3, self.canvas, self.canvas):
            raise ValueError(f"expected images (B, 3, {self.canvas}, {self.canvas}), got shape {tuple(image.shape)}")
        features: Tensor = self.layers(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B,), high for real ones."""
        logit: Tensor = self.logit(self.features(image))
        return logit.squeeze(1)


def downsampling(canvas: int, width: int, coordinates: bool, batch_norm: bool) -> nn.Sequential:
    """Return DCGAN's strided 5x5 convolutions, which map RGB images to 4x4 maps, flattened."""
    check_sizes(width=width)
    channels = [3, *map_channels(canvas, width)]
    layers = nn.Sequential()
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        layer = CoordConv2d if coordinates and i == 0 else nn.Conv2d
        layers.append(layer(inputs, outputs, 5, stride=2, padding=2))
        if batch_norm and i > 0:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers.append(nn.Flatten())


def map_channels(canvas: int, width: int) -> list[int]:
    """Return the channels of the maps between a canvas and 4x4, largest map first.

    Raises:
        ValueError: for a canvas that is not a power of two from 8 on.
    """
    depth = canvas.bit_length() - 3
    if depth < 1 or canvas != 4 * 2**depth:
        raise ValueError(f"canvas must be a power of two from 8 on, got {canvas}")
    return [width * 2**i for i in range(depth)]


@remember_arguments
class ConvEncoder(CheckedArguments, nn.Module):
    """Encoder of a VAE: the convolutions of DCGAN's discriminator, then a dense layer to means and log variances.

    The design is ours: the paper does not describe its VAE.

    Args:
        latent_size: length of the latent vectors, at least 1.
        canvas: height and width of the images in pixels, a power of two from 8 on.
        width: channels of the first map, at least 1.
        coordinates: make the first convolution a CoordConv.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, latent_size: int = 32, canvas: int = 64, width: int = 64, coordinates: bool = False) -> None:
        super().__init__()
        check_sizes(latent_size=latent_size)
        self.layers = downsampling(canvas, width, coordinates, batch_norm=True)
        self.posterior = nn.Linear(16 * map_channels(canvas, width)[-1], 2 * latent_size)
        glorot_uniform_(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) to means and log variances, both (B, latent_size)."""
        mean, log_variance = self.posterior(self.layers(image)).chunk(2, dim=1)
        return mean, log_variance


def check_sizes(**sizes: int) -> None:
    """Raise ValueError, with the name and the value, for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_latent(latent: Tensor, size: int) -> None:
    """Raise ValueError for latent vectors that are not (B, size)."""
    if latent.ndim != 2 or latent.shape[1] != size:
        raise ValueError(f"expected vectors (B, {size}), got shape {tuple(latent.shape)}")


def to_images(output: Tensor) -> Tensor:
    """Apply tanh to a generator's output, in float32 at least: in bfloat16 it has no gradient beyond 3.5."""
    return torch.tanh(output.to(torch.promote_types(output.dtype, torch.float32)))
