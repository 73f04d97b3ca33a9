"""Classes of a trained network that finds one point, to load, use in Python and export, and of predictions, to draw."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_coordconv.coordinates.point_task import PointRegression
from lightning_coordconv.coordinates.points import draw_point
from lightning_coordconv.core.export import Exportable
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.predictor import ImagePredictor, Result, Size
from lightning_coordconv.core.prepared_network import PreparedNetwork
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.core.sources import Images, Source
from lightning_coordconv.layers import coordconv_layers, fold_coordconv


@dataclass(frozen=True, repr=False)
class PointPrediction(Result):
    """The point of one picture.

    Attributes:
        source: the picture.
        x: of the point in pixels of the picture, to the right; 0 is the middle of the first column.
        y: of the point in pixels of the picture, downwards; 0 is the middle of the first row.
        size: width and height of the picture in pixels, turned as its EXIF orientation says.
    """

    source: Source
    x: float
    y: float
    size: tuple[int, int]

    def __repr__(self) -> str:
        return f"{self.source.name}: ({self.x:.1f}, {self.y:.1f})"

    def draw(self) -> Figure:
        """Draw the picture with a cross at the point."""
        image = Preprocessing()(self.source.read())
        sample = {"image": image.cpu(), "xy": torch.tensor([self.x, self.y]), "size": torch.tensor(self.size)}
        return draw_point(sample)


class PointPredictor(ImagePredictor[PointRegression, PointPrediction]):
    """A trained network that finds one point in each picture; see :meth:`load`."""

    kinds = (PointRegression,)
    moving = ("crop",)  # other steps keep shares of width and height

    def predict(self, images: Images) -> PointPrediction | list[PointPrediction]:
        """Return the points of pictures, in pixels of the pictures.

        Args:
            images: a file or a Pillow image, an array (H, W, C) of uint8, or a tensor (C, H, W) of uint8 or in [0, 1];
                or a folder, a list or a batch of these.

        Returns:
            The point of one picture; of a folder, a list or a batch a list of them.

        Raises:
            FileNotFoundError: if there is no such file, or no image in a folder.
            OSError: if a file is no image or a damaged one.
            ValueError: for a wrong shape, dtype or range, or a picture that the network does not take.
        """
        return self.predict_each(images, self._predict_point)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the network from images in [0, 1], (B, 3, H, W), to ``xy``; folded if the size is fixed.

        ``xy`` (B, 2) is in units of width and height: the pixel is ``x * width - 0.5``.
        """
        examples, axes = self.examples(size, images)
        net = copy.deepcopy(self.task.net).cpu()
        if 2 not in axes and coordconv_layers(net):
            net = fold_coordconv(net, self.preprocessing.normalise(examples[0][0]))
        module = PreparedNetwork(net, self.preprocessing.normalise, nn.Identity())
        return Exportable(module, examples, ("image",), ("xy",), axes, self.metadata(size))

    def read_names(self, described: object, classes: int | None = None) -> list[str]:
        """Return no names: points have no classes."""
        return []

    def _predict_point(self, image: Tensor, source: Source) -> PointPrediction:
        size = _size(source)
        x, y = (self.task.net(image[None])[0].cpu() * torch.tensor(size) - 0.5).tolist()
        return PointPrediction(source, x, y, size)


def _size(source: Source) -> tuple[int, int]:
    """Return width and height of a picture that stands upright."""
    if isinstance(source.content, Path):
        return read_size(source.content)
    image = source.read()
    return (image.shape[2], image.shape[1]) if isinstance(image, Tensor) else image.size
