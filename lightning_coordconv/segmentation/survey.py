"""Functions that collect contents and faults of folders of images and masks, for the command ``data check``."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning_coordconv.core.data import Split
from lightning_coordconv.core.image_search import find_files
from lightning_coordconv.core.survey import Part, Survey, data_options
from lightning_coordconv.segmentation.data import MaskFolderDataModule
from lightning_coordconv.segmentation.drawing import draw_masks
from lightning_coordconv.segmentation.mask_folder import MaskFolder

SPLITS: tuple[Split, ...] = ("train", "val", "test")
IGNORED = 255
"""Value of pixels without a class."""
MOST = 2**16
"""Number of values of a mask of 16 bits: a survey counts the classes, which a run is given."""


def surveys(path: Path) -> dict[str, Callable[[int], Survey]]:
    """Return the function that surveys a folder of images and masks, by the name of the format; none for others."""
    is_one = any((folder / "images").is_dir() and (folder / "masks").is_dir() for folder in (path, path / "train"))
    return {"images and masks": partial(_survey, path)} if is_one else {}


def _survey(path: Path, limit: int) -> Survey:
    survey = Survey(f"images and masks: {path}", "images with the class", limit)
    data = MaskFolderDataModule(str(path), num_classes=IGNORED, ignore_index=IGNORED)
    for split in SPLITS:
        with survey.collecting("splits that cannot be used"):
            dataset: Any = data.make_dataset(split, survey.refuse)
            dataset.num_classes = MOST
            _add(survey, split, dataset)
    if any(part.samples > limit for part in survey.parts):
        survey.remarks.append("sizes and classes are counted in the decoded images only")
    classes = sorted({int(name) for part in survey.parts for name in part.classes})
    for part in survey.parts:
        part.classes = Counter({str(value): part.classes[str(value)] for value in classes})  # in their order
    if len(classes) > 1:
        count = classes[-1] + 1
        survey.options = f"-c segmentation/masks_coordconv {data_options(root=path, num_classes=count)}"
        if count > IGNORED:
            survey.options += " --data.ignore_index -1 --model.ignore_index -1"
            survey.remarks.append(f"some masks have classes beyond {IGNORED}, so {IGNORED} is a class like the others")
        missing = sorted(set(range(count)) - {*classes, IGNORED})
        if missing:
            shown = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            survey.remarks.append(
                f"no mask has the classes {shown}, but some have {count - 1}: are they numbered from 0?"
            )
    if len(classes) == 1:
        survey.remarks.append("a run needs masks of at least 2 classes, so no command is proposed")
    return survey


def _add(survey: Survey, split: str, dataset: MaskFolder) -> None:
    part = Part(split)
    names: list[str] = []

    def note(sample: dict[str, Any]) -> None:
        height, width = sample["size"]
        part.sizes[width, height] += 1
        mask = sample["mask"]
        part.classes.update(str(value) for value in mask[mask != IGNORED].unique().tolist())
        names.extend(str(value) for value in range(len(names), int(mask[mask != IGNORED].max()) + 1))

    part.draw = lambda index: draw_masks(dataset[index], names, IGNORED)
    if dataset.images != survey.images.get("val"):  # without a test folder, val is the test split too
        survey.images[split] = dataset.images
    survey.others += find_files(dataset.mask_folder)
    survey.read(part, dataset, note)
    survey.parts.append(part)
