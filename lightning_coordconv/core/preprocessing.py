"""Class that prepares an image for a network: colour channels, resizing, cropping, value range and normalisation."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

LARGEST = 2**14
"""Largest size, in pixels: a square of it has three times as many pixels as the largest image that is read."""
SIZED = ("resize", "crop", "stretch")
"""Names of the arguments that change the size of images."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of images for evaluation, as plain data that a checkpoint can hold.

    Args:
        channels: 3 for RGB, 1 for grey.
        resize: length that the shorter side is scaled to, in pixels; ``None`` keeps the size.
        crop: height and width of the square in the middle that is kept, in pixels; ``None`` keeps all.
        mean: of each channel, in [0, 1]; subtracted.
        std: of each channel, in [0, 1]; divided by. Empty ``mean`` and ``std`` leave values in [0, 1].
        stretch: height and width of the square that the image is stretched to, in pixels; ``None`` keeps the shape.

    Raises:
        ValueError: for a number of channels other than 1 and 3, sizes that are no integers from 1 to 16,384, and a mean
            or standard deviation that is not one finite number for each channel, in a deviation above 0.
    """

    channels: int = 3
    resize: int | None = None
    crop: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    stretch: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels!r}")
        for name in SIZED:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= LARGEST):
                raise ValueError(f"{name} must be an integer from 1 to {LARGEST} or None, got {value!r}")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean and std must have the same length, got {self.mean!r} and {self.std!r}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            right = all(type(value) in (float, int) and math.isfinite(value) for value in values)
            if not right or len(values) not in (0, self.channels) or (name == "std" and min(values, default=1) <= 0):
                raise ValueError(f"{name} must be {self.channels} finite numbers, got {values!r}")

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Return what the network sees of an image, (C, H, W), float32.

        Args:
            image: a Pillow image of 8 bits a channel; or a tensor (1 or 3, H, W) in [0, 1], which is resized by torch
                and therefore differs slightly from a Pillow image where ``resize`` or ``stretch`` is given.
        """
        return self.scale(self.pixels(image))

    def pixels(self, image: Image.Image | Tensor) -> Tensor:
        """Return the pixels (C, H, W) that the network sees, before they are scaled: of a Pillow image uint8."""
        if isinstance(image, Image.Image):
            image = image.convert("RGB" if self.channels == 3 else "L")
        elif image.shape[0] != self.channels:
            image = image.expand(3, -1, -1) if self.channels == 3 else TF.rgb_to_grayscale(image)
        sized: Any = image  # torchvision's types do not say that they also take Pillow images
        if self.resize is not None:
            sized = TF.resize(sized, [self.resize])
        if self.crop is not None:
            sized = TF.center_crop(sized, [self.crop])
        if self.stretch is not None:
            sized = TF.resize(sized, [self.stretch, self.stretch], InterpolationMode.BICUBIC)  # Pillow's default
        return sized if isinstance(sized, Tensor) else TF.pil_to_tensor(sized)

    def scale(self, pixels: Tensor) -> Tensor:
        """Return pixels (..., C, H, W), uint8 or in [0, 1], as float32, normalised; a part gives that part of all."""
        return self.normalise(TF.to_dtype(pixels, torch.float32, scale=True))

    def normalise(self, values: Tensor) -> Tensor:
        """Subtract the mean of images (..., C, H, W) in [0, 1] and divide by the standard deviation."""
        if not self.mean:
            return values
        mean, std = self._columns(values)
        return (values - mean) / std

    def denormalise(self, values: Tensor) -> Tensor:
        """Return the images (..., C, H, W) in [0, 1] that :meth:`normalise` makes these values of."""
        if not self.mean:
            return values
        mean, std = self._columns(values)
        return values * std + mean

    def _columns(self, values: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (values.new_tensor(row)[:, None, None] for row in (self.mean, self.std))
        return mean, std

    def check_places(self, moving: tuple[str, ...]) -> None:
        """Raise an error if places in the prepared image are not those in the picture.

        Args:
            moving: names of the arguments after whose steps they are not.

        Raises:
            ValueError: naming the steps.
        """
        steps = {name: getattr(self, name) for name in moving}
        given = ", ".join(f"{name}={value}" for name, value in steps.items() if value is not None)
        if given:
            raise ValueError(
                f"the data of the checkpoint prepare images with {given}, and the network finds places in the prepared "
                "image, not in the picture: train without that, or call trainer.predict with the prepared images"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments as plain data."""
        return asdict(self)

    @property
    def keeps_pixels(self) -> bool:
        """Whether :meth:`pixels` returns those of an RGB image as they are."""
        return self.channels == 3 and all(getattr(self, name) is None for name in SIZED)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of what the network sees, if they are fixed."""
        side = self.crop if self.stretch is None else self.stretch
        return None if side is None else (side, side)

    def without_other_size(self, size: tuple[int, int] | None) -> "Preprocessing":
        """Return a preparation that does not resize or crop, if this one leads to another size than the one given."""
        if size is None or tuple(size) == self.size:
            return self
        return replace(self, resize=None, crop=None, stretch=None)

    @classmethod
    def from_dict(cls, values: object) -> "Preprocessing":
        """Return the preprocessing that plain data describe; see :meth:`to_dict`.

        What they leave out has its default, so that checkpoints from before an argument existed can be read.

        Raises:
            ValueError: if they describe none.
        """
        names = cls.__dataclass_fields__
        if not isinstance(values, Mapping) or not set(values) <= set(names):
            raise ValueError(f"preprocessing must be a dict of {', '.join(names)}, got {values!r}")
        sequences = {name: values[name] for name in ("mean", "std") if name in values}
        if not all(isinstance(value, list | tuple) for value in sequences.values()):
            raise ValueError(f"mean and std must be sequences of numbers, got {sequences!r}")
        return cls(**{**values, **{name: tuple(value) for name, value in sequences.items()}})
