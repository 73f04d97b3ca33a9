"""Functions that recognise COCO, YOLO or VOC data and collect contents and faults, for the command ``data check``."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.splits import PARTS, RandomSplit
from lightning_coordconv.core.survey import Part, Survey, data_options
from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.boxes import draw_boxes
from lightning_coordconv.detection.coco import WITHOUT_TARGETS, CocoDetection, check_categories
from lightning_coordconv.detection.coco_format import missing_lists, read_annotations
from lightning_coordconv.detection.targets import TargetName
from lightning_coordconv.detection.voc_format import FOLDERS, VocFolder
from lightning_coordconv.detection.yolo_format import SUFFIXES, YoloFolder

OVERLAY = "-c detection/coco_coordconv --data lightning_coordconv.detection."
ON_A_CPU = (
    "the command below trains a ResNet-50 on images of 800 pixels, which needs a GPU; for a CPU add "
    "-c detection/ablations/small, whose pretrained weights are downloaded; only without a connection add "
    "-c detection/ablations/from_scratch in its place, which begins with random weights and finds far less"
)
"""Remark where there is no GPU."""


def surveys(path: Path) -> dict[str, Callable[[int], Survey]]:
    """Return the formats of boxes that a file or folder is in, with the function that surveys it.

    Args:
        path: an annotation file in COCO's format, a YAML file in YOLO's, or a folder with either, or one in VOC's.

    Returns:
        Functions of the largest number of images of a split that are decoded, by the name of the format.
    """
    files = [path] if path.is_file() else sorted([*path.glob("*"), *path.glob("annotations/*.json")])
    found: dict[str, Callable[[int], Survey]] = {}
    if any(file.suffix.lower() in SUFFIXES for file in files):
        found["YOLO"] = partial(_yolo, path)
    if any(next((path / name).glob("*.xml"), None) for name in FOLDERS["annotations"]):
        found["Pascal VOC"] = partial(_voc, path)
    coco = [file for file in files if file.suffix.lower() == ".json" and _is_coco(file)]
    if coco:
        found["COCO"] = partial(_coco, path, coco)
    return found


def _is_coco(file: Path) -> bool:
    """Tell whether a JSON file has lists of COCO's format; one that is no JSON file counts, to be reported."""
    try:
        return len(missing_lists(json.loads(file.read_bytes()))) < 3
    except (ValueError, RecursionError):
        return True


def _coco(path: Path, files: list[Path], limit: int) -> Survey:
    survey = Survey(f"COCO: {path}", "boxes", limit)
    root = path if path.is_dir() else path.parent
    first: CocoDetection | None = None
    options = dict.fromkeys(PARTS, "")
    files, unused = _sets_of_boxes(files)
    survey.remarks += unused
    whole = len(files) == 1 and _part_of(_split_of(files[0])) is None
    for file in files:
        with survey.collecting("annotation files that cannot be used"):
            annotations = read_annotations(file, survey.refuse)
            images = _images_of(file, annotations, root)
            split = "train" if whole else _part_of(_split_of(file))
            if split and not options[split]:
                listed, folder = file.relative_to(root), images.relative_to(root)
                options[split] = data_options(**{f"{split}_annotations": listed, f"{split}_images": folder})
            data = _add(survey, file.stem, images, annotations, _split_of(file))
            first = first or data
            check_categories(data, first)
            survey.remarks += [f"{file.stem}: {remark}" for remark in _targets(data)]
    if whole and options["train"]:
        options["val"] = "--data.val_annotations null"  # a run splits the images by chance
        if first is not None:
            with survey.collecting("splits by chance that cannot be used"):
                _divide(first)
    if any(options.values()):
        needed = {split: options[split] or f"--data.{split}_annotations …" for split in ("train", "val")}
        where = " ".join(given for given in (options | needed).values() if given)
        _suggest(survey, f"-c detection/coco_coordconv {data_options(root=root)} {where}")
    return survey


def _sets_of_boxes(files: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that annotate boxes, and a line on each other file of a split that has one, as captions.

    Of several with boxes, a split has those named instances only: official files of keypoints repeat some of them.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(_split_of(file), []).append(file)
    used, unused = [], []
    for split, group in groups.items():
        named = [file for file in group if "instances" in _words(file)]
        chosen = named or (len(group) > 1 and [file for file in group if _has_boxes(file)]) or group
        used += chosen
        names = " and ".join(file.name for file in chosen)
        unused += [
            f"{file.name} is not used: the boxes of {split} are in {names}" for file in group if file not in chosen
        ]
    return used, unused


def _has_boxes(file: Path) -> bool:
    """Tell whether a COCO file has annotations of boxes, or none; one that is no JSON file counts, to be reported."""
    try:
        annotations = json.loads(file.read_bytes()).get("annotations")
    except (ValueError, RecursionError):
        return True
    if not isinstance(annotations, list):
        return False
    return not annotations or any(isinstance(entry, dict) and "bbox" in entry for entry in annotations)


def _divide(data: CocoDetection) -> None:
    """Divide the images of a data set as a run does, and read each part."""
    images = [image["file_name"] for image in data.read.content["images"]]
    parts = RandomSplit().divide(sorted(images), data.annotations, "images")
    for split in PARTS:
        CocoDetection(data.folder, data.read.part(parts[split]), crowds=split != "train", refuse=lambda *_: None)


def _suggest(survey: Survey, options: str) -> None:
    survey.options = options
    if not torch.cuda.is_available():
        survey.remarks.append(ON_A_CPU)


def _targets(data: CocoDetection) -> list[str]:
    """Return a line on the masks and one on the keypoints of a data set, if it has any: a run reads them on request."""
    content, lines = data.read.content, []
    entries: dict[TargetName, Any] = {
        "masks": [annotation.get("segmentation") for annotation in content["annotations"]],
        "keypoints": [category.get("keypoints") for category in content["categories"]],
    }
    for name in (name for name, values in entries.items() if any(values)):
        faults: list[str] = []
        dropped: list[str] = []
        try:
            read = CocoDetection(data.folder, data.read, refuse=partial(_keep, faults), targets=[name])
            known = data.remarks()
            dropped = [remark for remark in read.remarks() if remark not in known]
        except ValueError as error:
            faults.append(str(error))
        wrong = f" would refuse entries ({len(faults)}), the first: {faults[0]}" if faults else f" can read the {name}"
        lines.append(f"a run with --data.targets '[{name}]'{wrong}")
        lines += [f"with --data.targets '[{name}]': {remark}" for remark in dropped]
    return lines


def _keep(faults: list[str], kind: str, error: Exception) -> None:
    if kind == WITHOUT_TARGETS:
        faults.append(str(error))


def _yolo(path: Path, limit: int) -> Survey:
    survey = Survey(f"YOLO: {path}", "boxes", limit)
    with survey.collecting("files of the data set that cannot be used"):
        yolo = YoloFolder(path)
        for split in yolo.sources:
            with survey.collecting("splits that cannot be used"):
                _add(survey, split, yolo.file.parent, yolo.read(split, survey.refuse))
    _suggest(survey, f"{OVERLAY}YoloDetectionDataModule {data_options(root=path)}")
    return survey


def _voc(path: Path, limit: int) -> Survey:
    survey = Survey(f"Pascal VOC: {path}", "boxes", limit)
    with survey.collecting("files of the data set that cannot be used"):
        voc = VocFolder(path, refuse=survey.refuse)
        for split in voc.splits:
            with survey.collecting("splits that cannot be used"):
                _add(survey, split, path, voc.read(split))
    _suggest(survey, f"{OVERLAY}VocDetectionDataModule {data_options(root=path)}")
    return survey


def _add(
    survey: Survey, split: str, folder: Path, annotations: Annotations, images_of: str | None = None
) -> CocoDetection:
    """Add a split to a survey, and return its data set.

    Args:
        survey: receives it.
        split: its name in the report.
        folder: of its images.
        annotations: of its images.
        images_of: the split whose images they are, where several files annotate one.
    """
    data = CocoDetection(folder, annotations, crowds=_part_of(images_of or split) != "train", refuse=survey.refuse)
    names = {label: name for label, (_, name) in data.categories.items()}
    part = Part(split, draw=lambda index: draw_boxes(data[index], data.categories, size=3.0))
    part.classes.update(dict.fromkeys(names.values(), 0))
    survey.parts.append(part)
    survey.images[images_of or split] = [folder / image["file_name"] for image in data.images]
    for image in data.images:
        labels = data.objects[image["id"]]["labels"].tolist()
        part.per_image.append(len(labels))
        part.classes.update(names[label] for label in labels)
        with survey.collecting("files that cannot be read"):
            read_size(folder / image["file_name"], data.root)
            part.sizes[image["width"], image["height"]] += 1
    survey.read(part, data)
    survey.remarks += [f"{split}: {remark}" for remark in data.remarks()]
    return data


def _split_of(file: Path) -> str:
    """Return the word of a file's name that names its split, else the last: ``val2017`` of ``val2017_boxes.json``."""
    words = _words(file)
    return next((word for word in reversed(words) if _part_of(word)), words[-1])


def _words(file: Path) -> list[str]:
    return re.split(r"[\W_]+", file.stem)


def _part_of(word: str) -> str | None:
    """Return the split that a word is named after, as ``train2017`` and ``Training`` are after ``train``, or None."""
    return next((part for part in PARTS if word.lower().startswith(part)), None)


def _images_of(file: Path, annotations: Annotations, root: Path) -> Path:
    """Return the folder that has the first image of an annotation file: beside it, or in a folder beside it.

    Of several folders, those named images or like the split come first, then those of no split.

    Raises:
        FileNotFoundError: if none has it.
        ValueError: if several have it, and their names do not tell which is meant.
    """
    name = annotations.content["images"][0]["file_name"]
    split = _split_of(file)
    usual = [file.parent, root, root / "images", root / split, root / "images" / split]
    for folder in usual:
        if (folder / name).exists():
            return folder
    found = sorted(entry for entry in root.iterdir() if (entry / name).exists())
    part = _part_of(split)
    for parts in ({part}, {part, None}, {*PARTS, None}):
        fitting = [folder for folder in found if _part_of(folder.name) in parts]
        if len(fitting) > 1:
            raise ValueError(
                f"{name}, the first image of {file}, is in several folders, {' and '.join(map(str, fitting))}: name "
                f"the file after that of its images, such as {fitting[0].name}.json"
            )
        if fitting:
            return fitting[0]
    raise FileNotFoundError(f"{name}, the first image of {file}, is neither in {root} nor in a folder in it")
