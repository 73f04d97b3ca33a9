"""Images and boxes in COCO's format, and folders of images without any."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

from lightning_coordconv.core.images import find_images, read_rgb
from lightning_coordconv.detection.boxes import Categories

FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
"""What an annotation file must have."""
PER_BOX = ("labels", "iscrowd", "filled")
Policy = Literal["error", "drop"]


class CocoDetection(Dataset[dict[str, Any]]):
    """The images of an annotation file in COCO's format, with their boxes.

    A sample is a dict with

    ========  =======  =========  ==========================================================================
    key       type     shape      what
    ========  =======  =========  ==========================================================================
    image     float32  (3, H, W)  in [0, 1]
    boxes     float32  (n, 4)     x1, y1, x2, y2 in pixels, inside the image, of positive width and height
    labels    int64    (n,)       1 to K: the rank of the category's id; 0 is torchvision's background
    area      float32  (n,)       in pixels, as annotated (COCO's is that of the segmentation)
    iscrowd   int64    (n,)       1 for a box around a crowd, which evaluation ignores
    image_id  int      ()         the file's
    path      str                 of the image
    ========  =======  =========  ==========================================================================

    An image may have no box. EXIF orientations are not applied, since COCO's boxes are drawn without.

    Args:
        folder: where the ``file_name`` of an image begins.
        annotations: the JSON file.
        transforms: v2 transforms of image and boxes, applied one after the other. Boxes of which they leave less than a
            pixel are left out.
        crowds: keep boxes around crowds; to a detector in training they are no objects.
        bad_boxes: what to do with boxes that have no area inside the image, or are no four finite numbers: ``"error"``,
            or ``"drop"`` and count them in ``dropped``. Boxes that stick out of the image are cut at its border, and
            counted in ``clipped`` if it is by more than a pixel.
        bad_images: what to do with image files that are missing or damaged: ``"error"`` as soon as one is read, or
            ``"drop"``, which reads all of them beforehand and says in ``unreadable`` why each one is left out.

    Raises:
        FileNotFoundError: if there is no annotation file.
        ValueError: if it is not in COCO's format, or contradicts itself or the size of an image, and for bad boxes.
        OSError: for bad images.
    """

    def __init__(
        self,
        folder: Path,
        annotations: Path,
        transforms: Iterable[Callable[[Any], Any]] = (),
        crowds: bool = True,
        bad_boxes: Policy = "drop",
        bad_images: Policy = "error",
    ) -> None:
        content = _read(annotations)
        self.folder = folder
        self.annotations = annotations
        categories = sorted((category["id"], category["name"]) for category in content["categories"])
        self.categories: Categories = dict(enumerate(categories, start=1))
        changes = list(transforms)
        tidy = [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=_per_box)] if changes else []
        self.transform = v2.Compose([v2.Identity(), *changes, *tidy])
        self.images: list[dict[str, Any]] = sorted(content["images"], key=lambda image: int(image["id"]))
        self.unreadable: list[str] = []
        if bad_images == "drop":
            self.images = [image for image in self.images if self._is_readable(image)]
        self.clipped = self.dropped = 0
        self.objects = self._collect(content, crowds, bad_boxes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        known = self.images[index]
        path = self.folder / known["file_name"]
        image = read_rgb(path)
        if image.size != (known["width"], known["height"]):
            raise ValueError(
                f"{path} has {image.width} x {image.height} pixels, but {known['width']} x {known['height']} as image "
                f"{known['id']} of {self.annotations}"
            )
        objects = self.objects[known["id"]]
        boxes = tv_tensors.BoundingBoxes(objects["boxes"], format="XYXY", canvas_size=(image.height, image.width))
        sample = self.transform(objects | {"image": tv_tensors.Image(pil_to_tensor(image)), "boxes": boxes})
        boxes = sample["boxes"].as_subclass(Tensor)
        return {
            "image": to_dtype(sample["image"].as_subclass(Tensor), torch.float32, scale=True),
            "boxes": boxes,
            "labels": sample["labels"],
            "area": sample["filled"] * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": sample["iscrowd"],
            "image_id": known["id"],
            "path": str(path),
        }

    def _is_readable(self, image: Mapping[str, Any]) -> bool:
        try:
            read_rgb(self.folder / image["file_name"])
        except OSError as error:
            self.unreadable.append(str(error))
            return False
        return True

    def _collect(self, content: Mapping[str, Any], crowds: bool, bad_boxes: Policy) -> dict[int, dict[str, Tensor]]:
        """Return for each image its ``boxes``, and for each box label, ``iscrowd`` and which part of it is filled."""
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        label_of = {identity: label for label, (identity, _) in self.categories.items()}
        rows: dict[int, list[tuple[list[float], int, int, float]]] = {image: [] for image in sizes}
        for annotation in content["annotations"]:
            name = f"{self.annotations}: annotation {annotation['id']}"
            image, category, crowd = annotation["image_id"], annotation["category_id"], annotation.get("iscrowd", 0)
            if image not in sizes:
                raise ValueError(f"{name} is of image {image}, which is not among its images")
            if category not in label_of:
                raise ValueError(f"{name} has category {category}, which is not among its categories {list(label_of)}")
            if crowd and not crowds:
                continue
            box, cut = _clip(annotation["bbox"], *sizes[image])
            if not box:
                if bad_boxes == "error":
                    width, height = sizes[image]
                    raise ValueError(
                        f"{name} has the box {annotation['bbox']}, with no area inside an image of {width} x {height}"
                    )
                self.dropped += 1
                continue
            self.clipped += cut > 1
            extent = (box[2] - box[0]) * (box[3] - box[1])
            rows[image].append((box, label_of[category], int(crowd), annotation.get("area", extent) / extent))
        return {image: _columns(found) for image, found in rows.items()}


class ImageFiles(Dataset[dict[str, Any]]):
    """All images below a folder, in the order of their names.

    A sample is a dict with ``image`` (3, H, W), float32 in [0, 1], ``image_id``, its number from 1, and its ``path``.

    Args:
        folder: holds images in any format of torchvision's ``IMG_EXTENSIONS``.

    Raises:
        FileNotFoundError: if there are none.
        OSError: when a file is read that is no image, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = find_images(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        image = to_dtype(pil_to_tensor(read_rgb(path)), torch.float32, scale=True)
        return {"image": image, "image_id": index + 1, "path": str(path)}


def _read(path: Path) -> dict[str, Any]:
    """Read an annotation file and see that it has what it must."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation file {path}")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    missing = [part for part in FIELDS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if missing:
        raise ValueError(f"{path} is not in COCO's format: it has no list of {', '.join(missing)}")
    for part, fields in FIELDS.items():
        for number, entry in enumerate(content[part]):
            lacking = [field for field in fields if not isinstance(entry, dict) or field not in entry]
            if lacking:
                raise ValueError(f"{path} is not in COCO's format: {part}[{number}] has no {', '.join(lacking)}")
        if part != "annotations" and len({entry["id"] for entry in content[part]}) < len(content[part]):
            raise ValueError(f"{path} is not in COCO's format: two of its {part} have the same id")
    if not content["images"]:
        raise ValueError(f"{path} has no images")
    return content


def _clip(bbox: Any, width: int, height: int) -> tuple[list[float], float]:
    """Return what of a box x, y, width, height is inside an image, as x1, y1, x2, y2, and by how much it stuck out.

    The box is empty if it has no area there, or if it is no four finite numbers.
    """
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(number, int | float) for number in bbox)
    if not numbers or not all(map(math.isfinite, bbox)):
        return [], 0.0
    x, y, w, h = bbox
    box = [x, y, x + w, y + h]
    inside = [min(max(edge, 0.0), float(limit)) for edge, limit in zip(box, (width, height) * 2, strict=True)]
    cut = max(abs(before - after) for before, after in zip(box, inside, strict=True))
    return (inside, cut) if inside[2] > inside[0] and inside[3] > inside[1] else ([], cut)


def _columns(rows: list[tuple[list[float], int, int, float]]) -> dict[str, Tensor]:
    boxes, labels, crowds, filled = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "iscrowd": torch.tensor(crowds, dtype=torch.int64),
        "filled": torch.tensor(filled, dtype=torch.float32),
    }


def _per_box(sample: Mapping[str, Any]) -> tuple[Tensor, ...]:
    return tuple(sample[name] for name in PER_BOX)
