"""Functions that recognise splits (``train``, ...) of class folders, collect contents and faults: ``data check``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning_coordconv.classification.data import ImageFolderDataModule
from lightning_coordconv.classification.figures import draw_labelled
from lightning_coordconv.classification.image_folder import LabelledImages
from lightning_coordconv.core.arguments import similar_names
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.core.survey import Part, Survey, data_options

SPLITS = ("train", "val", "test")


def surveys(path: Path) -> dict[str, Callable[[int], Survey]]:
    """Return the function that surveys splits of one folder per class, by the name of the format; none for others."""
    is_one = (path / "train").is_dir() and any(entry.is_dir() for entry in (path / "train").iterdir())
    return {"image folders": partial(_survey, path)} if is_one else {}


def _survey(path: Path, limit: int) -> Survey:
    survey = Survey(f"image folders: {path}", "images", limit)
    with survey.collecting("splits that cannot be used"):
        survey.remarks += similar_names(ImageFolderDataModule(str(path)).class_names)
    for split in SPLITS:
        if (path / split).is_dir():
            with survey.collecting("splits that cannot be used"):
                _add(survey, split, LabelledImages(path / split, Preprocessing()))
    survey.options = f"-c classification/imagenet_coordconv {data_options(root=path)}"
    return survey


def _add(survey: Survey, split: str, data: LabelledImages) -> None:
    part = Part(split, draw=lambda index: draw_labelled(data[index]["image"], data.classes[data[index]["label"]]))
    survey.parts.append(part)
    survey.images[split] = [Path(file) for file, _ in data.samples]
    for file, label in data.samples:
        part.classes[data.classes[label]] += 1
        with survey.collecting("files that cannot be read"):
            part.sizes[read_size(file)] += 1
    survey.read(part, data)
