"""Classes of a trained image classifier, to load, use in Python and export, and of its predictions, to draw."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from lightning_coordconv.classification.figures import draw_labelled
from lightning_coordconv.classification.task import ImageClassification
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.export import Exportable
from lightning_coordconv.core.int8 import Int8Predictor
from lightning_coordconv.core.predictor import Result, Size
from lightning_coordconv.core.prepared_network import PreparedNetwork
from lightning_coordconv.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from lightning_coordconv.core.sources import Images, Source
from lightning_coordconv.layers import coordconv_layers, fold_coordconv


@dataclass(frozen=True, repr=False)
class Classification(Result):
    """The class of one image.

    Attributes:
        source: the image.
        label: the most probable class, from 0 on.
        name: of that class.
        probability: of that class, in [0, 1].
        probabilities: of all classes, by name, the highest first.
    """

    source: Source
    label: int
    name: str
    probability: float
    probabilities: dict[str, float]

    def __repr__(self) -> str:
        return f"{self.source.name}: {self.name} {self.probability:.2f}"

    def draw(self) -> Figure:
        """Draw the image, with its class and the probability."""
        return draw_labelled(self.source.tensor(), f"{self.name} {self.probability:.2f}")


class ClassificationPredictor(Int8Predictor[ImageClassification, Classification]):
    """A trained classifier; see :meth:`load`."""

    kinds = (ImageClassification,)
    default = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def predict(self, images: Images) -> Classification | list[Classification]:
        """Return the classes of images, which are prepared as in evaluation: resized, cropped and normalised.

        Args:
            images: a file or a Pillow image, an array (H, W, C) of uint8, or a tensor (C, H, W) of uint8 or in [0, 1];
                or a folder, a list or a batch of these.

        Returns:
            The class of one image; of a folder, a list or a batch a list of them.

        Raises:
            FileNotFoundError: if there is no such file, or no image in a folder.
            OSError: if a file is no image or a damaged one.
            ValueError: for a wrong shape, dtype or range, or an image that the network does not take.
        """
        return self.predict_each(images, self._predict_image)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the network from images in [0, 1], (B, C, H, W), to ``probabilities``; folded if the size is fixed."""
        examples, axes = self.examples(size, images)
        net = copy.deepcopy(self.task.net).cpu()
        if 2 not in axes and coordconv_layers(net):
            net = fold_coordconv(net, self.preprocessing.normalise(examples[0][0]))
        module = PreparedNetwork(net, self.preprocessing.normalise, _probabilities)
        return Exportable(module, examples, ("image",), ("probabilities",), axes, self.metadata(size))

    def labelled(self, batch: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images of a batch, (B, C, H, W), and their classes (B,)."""
        yield batch["image"], batch["label"]

    def decide(self, output: Tensor) -> Tensor:
        """Return the probabilities, which order the classes as logits do."""
        return output

    def _predict_image(self, image: Tensor, source: Source) -> Classification:
        logits = self.task.net(image[None])
        probabilities = logits.softmax(1)[0].float().cpu()
        if len(probabilities) < len(self.class_names):
            raise CheckpointError(
                f"the network has {len(probabilities)} outputs, too few for the class_names of the checkpoint: "
                f"{self.class_names!r:.100}"
            )
        order = logits[0].argsort(descending=True, stable=True).tolist()  # the first is predicted_class
        named = {self.name_of(label): probabilities[label].item() for label in order}
        return Classification(source, order[0], self.name_of(order[0]), probabilities[order[0]].item(), named)


def _probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(1)


load = ClassificationPredictor.load
