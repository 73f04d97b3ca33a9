"""Class that reads boxes, classes and splits in YOLO's format: a ``data.yaml``, and one text file for each image."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lightning_coordconv.core.arguments import check_printable
from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.image_search import find_images
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.parsing import parse_number
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.detection.annotations import Annotations, read_lines, remark
from lightning_coordconv.detection.yolo_keypoints import ROUNDING, key_point_line

SUFFIXES = (".yaml", ".yml")
SPLITS = ("train", "val", "test")


class EachKeyOnce(yaml.SafeLoader):
    """Loads plain data, and refuses a key that occurs twice, whose last value would win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        content: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[no-untyped-call]
        if len(content) < len(node.value):
            keys = [str(key.value) for key, _ in node.value]
            raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} occurs twice")
        return content


class YoloFolder:
    """The data set that a ``data.yaml`` describes.

    The file has ``names``, a list or a mapping from class to name, and for ``train``, ``val`` and perhaps ``test`` a
    folder of images, a text file that lists images, or a list of these. Their paths are relative to the file, or to its
    ``path``. The boxes of ``images/a.jpg`` are in ``labels/a.txt``, where the last folder named ``images`` becomes
    ``labels``, or else beside the image. A line is ``class cx cy w h``, the centre and the size of a box, in shares of
    the image; or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon, which is replaced by the box around it. If most lines of a
    split can be a box with the same number of key points
    (:func:`~lightning_coordconv.detection.yolo_keypoints.key_point_line`), they are refused, unless the file says
    ``kpt_shape: null``. An image without a file of labels, or with an empty one, has no objects. Boxes refer to the
    image turned as its EXIF orientation says.

    Source: https://docs.ultralytics.com/datasets/detect. globox converts such files too, but takes no ``data.yaml``, no
    polygons and one suffix of images a folder, and its errors name no line.

    Args:
        path: the YAML file, or a folder with one.

    Attributes:
        file: the YAML file.
        names: of the classes, by class.
        polygons: whether lines of labels are known to have no key points.
        sources: the folders and lists of each split.

    Raises:
        FileNotFoundError: if there is no such file, or a split that it names does not exist.
        ValueError: naming the file, if it is not as above.
    """

    def __init__(self, path: Path) -> None:
        self.file = find_yaml(path)
        try:
            loader = EachKeyOnce(self.file.read_text(encoding="utf-8"))  # type: ignore[no-untyped-call]
            content = loader.get_single_data()  # type: ignore[no-untyped-call]
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{self.file} is no YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.file} must be a mapping with names, train and val")
        if content.get("kpt_shape") is not None:
            raise ValueError(f"{self.file} describes key points (kpt_shape), which are not read: expected boxes")
        self.polygons = "kpt_shape" in content
        self.names = self._names(content)
        self.folder = self.file.parent / str(content.get("path") or "")
        self.sources = {split: self._paths(split, content[split]) for split in SPLITS if content.get(split)}
        missing = [split for split in ("train", "val") if split not in self.sources]
        if missing:
            raise ValueError(f"{self.file} has no {' and no '.join(missing)}: expected a folder of images")

    def read(self, split: str, refuse: Refuse = raise_refused) -> Annotations:
        """Read the annotations of a split; paths of images are relative to the folder of the YAML file.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            refuse: receives each line that is not in YOLO's format, which is left out if it returns.

        Raises:
            FileNotFoundError: if there is no image.
            ValueError: for the first line that is not in YOLO's format, or image that has the labels of another.
        """
        root = self.file.parent
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        places: dict[int, str] = {}
        unlabelled: list[str] = []
        labels: dict[Path, Path] = {}
        polygons: list[tuple[str, list[float]]] = []
        for number, path in enumerate(self._images(split), start=1):
            file = _labels_of(path)
            if file in labels:
                error = ValueError(
                    f"{labels[file]} and {path} have the same name up to the ending, so they would have the same "
                    f"labels, {file}: rename one of them and its labels"
                )
                refuse("images that have the labels of another", error)
                continue
            labels[file] = path
            width, height = _size(path)
            name = str(path.relative_to(root) if path.is_relative_to(root) else path)
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            if not file.is_file():
                unlabelled.append(name)
                continue
            for place, label, values in _lines(file, refuse):
                cx, cy, w, h = _box(values)
                polygons += [(place, values)] if len(values) > 4 else []
                places[len(places) + 1] = place
                box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
                entry = {"id": len(places), "image_id": number, "category_id": label, "bbox": box}
                annotations.append(entry)
        found = None if self.polygons else key_point_line([values for _, values in polygons])
        if found is not None:
            place, values = polygons[found]
            error = ValueError(
                f"{place} looks like a box and key points, as do most lines of {1 + len(values)} numbers of the "
                f"{split} split; key points are not read. If these are polygons, write kpt_shape: null in {self.file}"
            )
            refuse("lines of key points", error)
        categories = [{"id": label, "name": name} for label, name in self.names.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        headers = read_headers(labels.values())
        turned = remark("images turned by their EXIF orientation", list(map(str, headers.turned)))
        remarks = [
            *headers.remarks,
            turned and f"{turned}; boxes are taken to be on the turned images",
            remark("images without a file of labels, which count as images without objects", unlabelled),
            remark("left out files of labels that have no image", self._orphans(split, set(labels))),
        ]
        return Annotations(self.file, content, places, upright=True, remarks=[line for line in remarks if line])

    def _names(self, content: dict[str, Any]) -> dict[int, str]:
        names = content.get("names")
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names or not all(str(label).isdecimal() for label in names):
            raise ValueError(
                f"{self.file} must have names: a list, or a mapping from the number of a class to its name"
            )
        if len({int(label) for label in names}) < len(names):
            raise ValueError(f"{self.file} must have each class once among its names, got {names}")
        different = {str(name) for name in names.values()}
        if not all(type(name) in (str, int) for name in names.values()) or len(different) < len(names):
            raise ValueError(f"{self.file} must have a different text as the name of each class, got {names}")
        check_printable(self.file, different)
        if content.get("nc") not in (None, len(names)):
            raise ValueError(f"{self.file} has {len(names)} names, but nc is {content['nc']!r}")
        return {int(label): str(names[label]) for label in sorted(names, key=int)}

    def _paths(self, split: str, given: Any) -> list[Path]:
        given = given if isinstance(given, list) else [given]
        return [self._path(split, str(name)) for name in given]

    def _path(self, split: str, name: str) -> Path:
        """Return the folder or list that a split names; exports of Roboflow say ``../train`` and mean ``train``."""
        candidates = [self.folder / name, self.file.parent / name, self.file.parent / name.removeprefix("../")]
        for path in candidates:
            if path.exists():
                return path
        raise FileNotFoundError(f"{self.file} names {name} as {split}, but there is no {candidates[0]}")

    def _images(self, split: str) -> list[Path]:
        found: list[Path] = []
        for source in self.sources[split]:
            if source.is_dir():
                beside = _labels_of(source / "any.jpg").parent == source
                found += find_images(source, read=(".txt",) if beside else ())
            else:
                # pathlib removes "./", and keeps absolute paths
                found += [source.parent / line.strip() for line in read_lines(source) if line.strip()]
        return sorted({path.resolve(): path for path in found}.values())  # a file may be listed by several paths

    def _orphans(self, split: str, labels: set[Path]) -> list[str]:
        """Return the label files in the folders of labels of a split that belong to none of its images."""
        folders = {_labels_of(source / "any.jpg").parent for source in self.sources[split] if source.is_dir()}
        every = (file for folder in folders for file in folder.rglob("*"))
        files = {file for file in every if file.suffix.lower() == ".txt" and file.name != "classes.txt"}
        return sorted(str(file) for file in files - labels)


def find_yaml(path: Path) -> Path:
    """Return the YAML file that a path names, or that is the only one in a folder.

    Raises:
        FileNotFoundError: if there is none, or several of which none is ``data.yaml``.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return path
    found = sorted(file for file in path.glob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else []
    preferred = [file for file in found if file.name == "data.yaml"] or found
    if len(preferred) != 1:
        several = f"several: {', '.join(file.name for file in found[:5])}" if found else "none"
        raise FileNotFoundError(f"expected data.yaml, or one other YAML file, in {path}, but there is {several}")
    return preferred[0]


def _lines(file: Path, refuse: Refuse) -> Iterator[tuple[str, int, list[float]]]:
    """Yield place, class, and box (cx, cy, w, h) or polygon of each line of a file of labels."""
    try:
        lines = read_lines(file)
    except ValueError as error:
        refuse("files of labels that are no text", error)
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{file} line {number}"
            try:
                label, *values = _numbers(line)
                yield place, int(label), values
            except ValueError as error:
                refuse("lines that are not in YOLO's format", ValueError(f"{place} {error}"))


def _numbers(line: str) -> list[float]:
    words = line.split()
    try:
        numbers = [parse_number(word) for word in words]
    except ValueError:
        raise ValueError(f"has {line.strip()[:60]!r}, but it must be numbers: class cx cy w h") from None
    if not (math.isfinite(numbers[0]) and numbers[0] == int(numbers[0]) and numbers[0] >= 0):
        raise ValueError(f"has the class {words[0]}, but it must be a whole number from 0")
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise ValueError(f"has {len(words)} numbers, but it must be class cx cy w h, or a class and a polygon")
    outside = [word for word, value in zip(words[1:], numbers[1:], strict=True) if not 0 <= value <= 1 + ROUNDING]
    if outside:
        raise ValueError(f"has the value {outside[0]}, but it must be in [0, 1]: a share of the width or the height")
    return numbers


def _box(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        cx, cy, w, h = values
        return cx, cy, w, h
    x1, x2, y1, y2 = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _size(path: Path) -> tuple[int, int]:
    """Return width and height of an image; 1 and 1 if it cannot be read, which is reported when it is."""
    try:
        return read_size(path)
    except OSError:
        return 1, 1


def _labels_of(image: Path) -> Path:
    parts = list(image.parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")
