"""Callbacks that draw true and predicted masks and the confusion matrix, and that write predicted masks as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.figures import draw_confusion, figures_folder, gathered, save_pictures
from lightning_coordconv.core.predictions import WritesPredictions
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.segmentation.metrics import ConfusionMatrix

OPACITY = 0.55
"""Of a mask over its image."""
HIGHEST = 2**16 - 1
"""Largest value of a mask of 16 bits."""
MATRIX_CLASSES = 1000
"""Most classes whose confusion matrix is drawn: its counts need 8 MB."""


class SegmentationFigures(Callback):
    """Draw image, true mask and predicted mask of the same few images after each validation and test.

    As ``figures/masks_<stage>_<k>.png`` beside the logs, of the latest weights, and in the loggers at each step. The
    first rank draws its own images. The classes have the names of the data, or else those of the task. A test also
    draws the confusion matrix of up to 1,000 classes.

    Args:
        num_images: how many, from the first on, at least 1.

    Raises:
        ValueError: if that is not positive.
    """

    def __init__(self, num_images: int = 4) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images
        self.samples: list[dict[str, Any]] = []
        self.confusion: ConfusionMatrix | None = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the first images and their masks."""
        for number, predicted in enumerate(outputs["preds"][: self.num_images - len(self.samples)]):
            sample = {key: _on_cpu(values[number]) for key, values in batch.items()}
            self.samples.append(sample | {"predicted": predicted.cpu()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        self._draw(trainer, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the pairs of classes, unless there are too many to draw."""
        task: Any = pl_module
        few = task.num_classes <= MATRIX_CLASSES
        self.confusion = ConfusionMatrix(task.num_classes, task.ignore_index).to(task.device) if few else None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the first images and their masks, and count the pairs of classes."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.confusion is not None:
            self.confusion.update(outputs["preds"], outputs["target"])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the confusion matrix of the pixels of all ranks, as ``figures/confusion_test.png``."""
        task: Any = pl_module
        if self.confusion is None:
            rank_zero_info(f"No confusion matrix is drawn: {task.num_classes} classes are more than {MATRIX_CLASSES}.")
            return
        matrix, self.confusion = self.confusion.compute(), None
        folder = figures_folder(trainer)
        if folder is not None:
            save_pictures(trainer, folder, "test", {"confusion_test": draw_confusion(matrix, _class_names(trainer))})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        self._draw(trainer, "test")

    def _draw(self, trainer: Trainer, stage: str) -> None:
        samples, self.samples = self.samples, []
        folder = figures_folder(trainer)
        if folder is not None and not trainer.sanity_checking:
            task: Any = trainer.lightning_module
            names = _class_names(trainer)
            figures = {
                f"masks_{stage}_{number}": draw_masks(sample, names, task.ignore_index)
                for number, sample in enumerate(samples)
            }
            save_pictures(trainer, folder, stage, figures)


class MaskWriter(WritesPredictions, BasePredictionWriter):
    """Write predicted masks as indexed PNG files, ``masks/<name>.png`` beside the logs, in distinct colours.

    The masks of images in sub-folders are in the same sub-folders.
    """

    outputs = ("masks",)

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self.written = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out where to write."""
        super().on_predict_start(trainer, pl_module)
        self.written = 0

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Tensor],
        batch_indices: Sequence[int] | None,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the masks of a batch."""
        names = batch["name"] if "name" in batch else [Path(path).stem for path in batch["path"]]
        for mask, name in zip(prediction, names, strict=True):
            target = self.folder / "masks" / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            save_mask(mask, target)
            self.written += 1

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where they are, and how many all ranks wrote."""
        written = sum(gathered(trainer, self.written))
        rank_zero_info(f"Wrote {written} masks to {self.folder / 'masks'}")


def draw_masks(sample: Mapping[str, Any], class_names: Sequence[str], ignore_index: int) -> Figure:
    """Draw an image beside its true mask and its predicted mask, as far as there are any, with a legend.

    Args:
        sample: with ``image`` (3, H, W), or (1, H, W) if it is grey, normalised or not, and perhaps ``mask`` and
            ``predicted`` (H, W).
        class_names: by class.
        ignore_index: value of pixels that are left uncoloured.
    """
    image = _displayed(sample["image"])
    titles = {"mask": "truth", "predicted": "prediction"}
    masks = {title: sample[key] for key, title in titles.items() if key in sample}
    figure = Figure(figsize=(4 * (1 + len(masks)), 4), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(masks))
    first.imshow(image)
    first.set_title("image")
    colours, shown = _colours(len(class_names)), set()
    for axes, (title, mask) in zip(others, masks.items(), strict=True):
        known = (mask >= 0) & (mask < len(class_names)) & (sample.get("mask", mask) != ignore_index)
        shown |= set(mask[known].unique().tolist())
        overlay = image.copy()
        overlay[known.numpy()] = OPACITY * colours[mask[known].numpy()] / 255 + (1 - OPACITY) * image[known.numpy()]
        axes.imshow(overlay)
        axes.set_title(title)
    for axes in (first, *others):
        axes.set_axis_off()
    handles = [Patch(color=colours[number] / 255, label=class_names[number]) for number in sorted(shown)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, max(1, len(handles))))
    return figure


def _displayed(image: Tensor) -> Any:
    """Return a normalised image (3, H, W) or (1, H, W) as an array (H, W, 3) in [0, 1], whatever its normalisation."""
    low, high = image.amin(), image.amax()
    return ((image - low) / (high - low).clamp(min=1e-6)).expand(3, -1, -1).permute(1, 2, 0).numpy()


def _colours(count: int) -> Any:
    """Return distinct colours (count, 3), uint8: ten dark ones, then ten light ones, and so on."""
    pairs = colormaps["tab20"].colors  # type: ignore[attr-defined]  # of a listed colormap: a dark and a light hue each
    palette = pairs[::2] + pairs[1::2]
    return (np.array([palette[number % len(palette)] for number in range(count)]) * 255).astype(np.uint8)


def save_mask(mask: Tensor, path: Path) -> None:
    """Write a mask (H, W) as an indexed PNG in distinct colours if it is uint8, else as a grey image of 16 bits.

    Raises:
        ValueError: if the name does not end in .png, or there is a class beyond 65,535, the highest value of 16 bits.
    """
    if path.suffix.lower() != ".png":
        raise ValueError("a mask is a .png file: other formats can change its values, which are classes")
    highest = int(mask.max())
    if highest > HIGHEST:
        raise ValueError(f"a mask file has 16 bits, so its classes must be from 0 to {HIGHEST}, got {highest}")
    if mask.dtype == torch.uint8:
        indexed = Image.fromarray(mask.numpy())
        indexed.putpalette(_colours(256).tobytes())
        indexed.save(path)
    else:
        Image.fromarray(mask.numpy().astype(np.uint16)).save(path)


def _class_names(trainer: Trainer) -> list[str]:
    """Return the names of the classes: those of the data, or those of the task if the data have numbers only."""
    task: Any = trainer.lightning_module
    names = list(getattr(data_module(trainer), "class_names", ()))
    return task.class_names if names == [str(number) for number in range(len(names))] else names


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
