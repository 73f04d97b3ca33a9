"""Classes of a trained segmentation network, to load, use and export, and of its label maps, to draw or save as PNG."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lightning_coordconv.core.export import Exportable
from lightning_coordconv.core.int8 import Int8Predictor
from lightning_coordconv.core.predictor import Result, Size, writing
from lightning_coordconv.core.prepared_network import PreparedNetwork
from lightning_coordconv.core.regions import ImageRegions
from lightning_coordconv.core.sources import Images, Source
from lightning_coordconv.layers import coordconv_layers, fold_coordconv
from lightning_coordconv.segmentation.drawing import draw_masks
from lightning_coordconv.segmentation.mask_folder import PREPROCESSING
from lightning_coordconv.segmentation.mask_writer import save_mask
from lightning_coordconv.segmentation.task import SemanticSegmentation
from lightning_coordconv.segmentation.tiles import predict_tiles


@dataclass(frozen=True, repr=False)
class Segmentation(Result):
    """The class of each pixel of one image.

    Attributes:
        source: the image.
        labels: (H, W), from 0 on, uint8 for up to 256 classes, int16 for up to 32,768, else int32.
        class_names: by class.
        shares: of the pixels that each class has, in [0, 1], by name, for the classes that occur.
    """

    source: Source
    labels: Tensor
    class_names: list[str]
    shares: dict[str, float]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        found = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        return f"{self.source.name}: {height} x {width} pixels: {found}"

    def draw(self) -> Figure:
        """Draw the image beside its label map, with a legend."""
        sample = {"image": self.source.tensor(), "predicted": self.labels.long()}
        return draw_masks(sample, self.class_names, ignore_index=-1)

    def save_mask(self, path: str | Path) -> Path:
        """Write the label map as a PNG file whose values are classes, and return the path.

        Raises:
            OSError: naming the path, if it cannot be written.
        """
        with writing(path) as target:
            save_mask(self.labels, target)
        return target


class SegmentationPredictor(Int8Predictor[SemanticSegmentation, Segmentation]):
    """A trained segmentation network; see :meth:`load`."""

    kinds = (SemanticSegmentation,)
    default = PREPROCESSING
    moving = ("crop",)  # other steps keep shares of width and height

    def predict(self, images: Images) -> Segmentation | list[Segmentation]:
        """Return the class of each pixel of images; those larger than the task's ``tile`` are predicted by tiles.

        Args:
            images: a file or a Pillow image, an array (H, W, C) of uint8, or a tensor (C, H, W) of uint8 or in [0, 1];
                or a folder, a list or a batch of these.

        Returns:
            The label map of one image; of a folder, a list or a batch a list of them.

        Raises:
            FileNotFoundError: if there is no such file, or no image in a folder.
            OSError: if a file is no image or a damaged one.
            ValueError: for a wrong shape, dtype or range, or an image that the network does not take.
        """
        return self.predict_each(images, self._predict_image)

    def prepare(self, source: Source) -> Tensor | ImageRegions:
        """Return the pixels of an image; of large ones only a tile at a time is scaled and moved to the device."""
        if isinstance(source.content, Path) and self.preprocessing.keeps_pixels:
            return ImageRegions(source.content)
        return self.preprocessing.pixels(self.read(source))

    def read_names(self, described: Mapping[str, Any], classes: int | None = None) -> list[str]:
        """Return the names of the classes: those given to the task, else those of the data."""
        names = self.task.hparams.get("class_names") or described.get("class_names") or self.task.class_names
        return super().read_names({"class_names": list(names)}, self.task.num_classes)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the network from images in [0, 1], (B, C, H, W), to ``logits``; folded if the size is fixed."""
        examples, axes = self.examples(size, images)
        net = copy.deepcopy(self.task.net).cpu()
        if 2 not in axes and coordconv_layers(net):
            net = fold_coordconv(net, self.preprocessing.normalise(examples[0][0]))
        module = PreparedNetwork(net, self.preprocessing.normalise, _logits)
        return Exportable(module, examples, ("image",), ("logits",), axes, self.metadata(size))

    def labelled(self, batch: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images of a batch, (1, C, H, W), and their masks (1, H, W), without padding."""
        for image, mask, (height, width) in zip(batch["image"], batch["mask"], batch["size"], strict=True):
            yield image[None, :, :height, :width], mask[None, :height, :width]

    def decide(self, output: Tensor) -> Tensor:
        """Return the classes of pixels (B, H, W)."""
        return output.argmax(1)

    def _predict_image(self, image: Tensor | ImageRegions, source: Source) -> Segmentation:
        task = self.task
        labels = predict_tiles(task.net, image, task.tile, task.overlap, self.preprocessing.scale, task.strides)
        if not isinstance(image, ImageRegions):  # of the size that the picture was prepared to
            picture: Any = self.read(source)  # torchvision's types do not say that it also takes Pillow images
            labels = TF.resize(labels[None], TF.get_size(picture), InterpolationMode.NEAREST_EXACT)[0]
        counts = labels.flatten().bincount().tolist()  # needs no memory for each pixel, unlike unique()
        shares = {self.name_of(label): count / labels.numel() for label, count in enumerate(counts) if count}
        return Segmentation(source, labels, self.class_names, shares)


def _logits(output: Any) -> Tensor:
    return output["out"] if isinstance(output, Mapping) else output


load = SegmentationPredictor.load
