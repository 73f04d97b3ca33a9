"""Functions that collect a picture folder's contents and faults, and suggest options to train, for ``data check``."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning_coordconv.core.image_search import find_images, leave_out_repeated
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.survey import Part, Survey, data_options
from lightning_coordconv.generative.data import UnlabelledImagesDataModule
from lightning_coordconv.generative.unlabelled_images import UnlabelledImages

STEPS, BATCH_SIZE = 3500, 16
"""Training batches of ``generative/small_coordconv``, in which its learning rate falls to zero, and images in each."""
IMAGE_SIZE = 32
"""Side of the images that a run of these options sees."""
VALIDATIONS = 7
"""Validations of ``generative/small_coordconv``, each with a picture of samples."""


def surveys(path: Path) -> dict[str, Callable[[int], Survey]]:
    """Return the function that surveys a folder of images at any depth, by the name of the format; none for others."""
    try:
        return {"pictures": partial(_survey, path, find_images(path))} if path.is_dir() else {}
    except FileNotFoundError:
        return {}


def _survey(path: Path, found: list[Path], limit: int) -> Survey:
    files = leave_out_repeated(found, path)
    survey = Survey(f"pictures: {path}", "images", limit)
    held_out = max(1, min(1000, len(files) // 10))
    part = Part("all")
    survey.parts.append(part)
    survey.images[part.name] = files
    for file in files:
        with survey.collecting("files that cannot be read"):
            part.sizes[read_size(file)] += 1
    with survey.collecting("folders that cannot be used"):
        data = UnlabelledImagesDataModule(str(path), image_size=IMAGE_SIZE, eval_count=held_out)
        pictures = UnlabelledImages(files, data.transform("val"))
        part.draw = lambda index: data.plot(pictures[index])
        survey.read(part, pictures)
    survey.remarks.append(
        "no boxes, masks or folders of classes were found in this folder: these pictures can train a generator; for a "
        "detector check the folder with the annotation file"
    )
    batches = (len(files) - 2 * held_out) // BATCH_SIZE
    if batches:
        epochs = math.ceil(STEPS / batches)
        every = math.ceil(epochs / VALIDATIONS)
        options = data_options(root=path, image_size=IMAGE_SIZE, eval_count=held_out)
        survey.options = (
            f"-c generative/small_coordconv --data UnlabelledImagesDataModule {options} --model.object_radius null "
            f"--trainer.max_epochs {math.ceil(epochs / every) * every} --trainer.check_val_every_n_epoch {every}"
        )
    return survey
