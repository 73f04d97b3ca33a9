"""Images with boxes, and folders of images without boxes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import ExifTags, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

from lightning_coordconv.core.images import find_images, read_rgb
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.boxes import Categories
from lightning_coordconv.detection.coco_format import read_annotations
from lightning_coordconv.detection.transforms import ImageAndBoxes

Policy = Literal["error", "drop"]
Links = Literal["inside", "anywhere"]
THINNEST = 1e-3
"""Side of a box, in pixels, that counts as none: torchvision's detectors drop proposals that are as thin."""


class CocoDetection(Dataset[dict[str, Any]]):
    """The images of an annotation file in COCO's format, or of annotations of another format, with their boxes.

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

    An image may have no box. COCO's boxes are drawn on images whose EXIF orientation is not applied; an image is turned
    only if it does not have the annotated size, and has it when it is turned as EXIF says.

    Args:
        folder: where the ``file_name`` of an image begins.
        annotations: the JSON file, or what a reader of another format returned.
        transforms: v2 transforms of image and boxes; see
            :class:`~lightning_coordconv.detection.transforms.ImageAndBoxes`.
        crowds: keep boxes around crowds; to a detector in training they are no objects.
        bad_boxes: what to do with boxes that have no area inside the image, or hold infinite values or NaN:
            ``"error"``, or ``"drop"``. Boxes that stick out of the image are cut at its border.
        bad_images: what to do with image files that are missing or damaged: ``"error"`` when one is read, or
            ``"drop"``, which reads all of them beforehand.
        links: whether an image may lie outside of the folder, by its path or behind a symbolic link: ``"inside"`` or
            ``"anywhere"``.
        refuse: receives each entry that contradicts the others; by default it is raised.

    Attributes:
        dropped: ids of annotations whose box was dropped.
        clipped: ids of annotations whose box was cut by more than a pixel.
        left_out: ids of annotations of crowds that were left out.
        unreadable: why each image that was dropped cannot be read.

    Raises:
        FileNotFoundError: if there is no annotation file.
        ValueError: if it is not in COCO's format, or contradicts itself or the size of an image, for bad boxes, and if
            there is no box, or none is left.
        OSError: for bad images, and if none is left.
    """

    def __init__(
        self,
        folder: Path,
        annotations: Path | Annotations,
        transforms: Iterable[Callable[[Any], Any]] = (),
        crowds: bool = True,
        bad_boxes: Policy = "drop",
        bad_images: Policy = "error",
        links: Links = "inside",
        refuse: Refuse = raise_refused,
    ) -> None:
        _check_policies(bad_boxes=bad_boxes, bad_images=bad_images)
        read = annotations if isinstance(annotations, Annotations) else read_annotations(annotations, refuse)
        content = read.content
        self.folder = folder
        self.root = _root(folder, links)
        self.read = read
        self.annotations = read.source
        categories = sorted((category["id"], category["name"]) for category in content["categories"])
        self.categories: Categories = dict(enumerate(categories, start=1))
        self.transform = ImageAndBoxes(transforms)
        self.images: list[dict[str, Any]] = sorted(content["images"], key=lambda image: image["id"])
        self.unreadable: list[str] = []
        if bad_images == "drop":
            reasons = _why_unreadable([folder / image["file_name"] for image in self.images], self.root, read.source)
            self.unreadable = [reason for reason in reasons if reason]
            self.images = [image for image, reason in zip(self.images, reasons, strict=True) if not reason]
        self.dropped: list[int] = []
        self.clipped: list[int] = []
        self.left_out: list[int] = []
        self.objects = self._collect(content, crowds, bad_boxes, refuse)
        if all(self.objects[image["id"]]["iscrowd"].all() for image in self.images):
            reason = "; ".join(self.remarks()) or ("only crowds" if content["annotations"] else "no annotations")
            raise ValueError(f"{read.source} has no box to detect: {reason}")

    def remarks(self) -> list[str]:
        """Return a line on each kind of annotation that is not used as it is, and on each image that is left out."""
        kinds = {
            "dropped {} boxes without area in their image": self.dropped,
            "cut {} boxes at the border of their image": self.clipped,
            "left out {} crowds, or difficult objects, which are no objects in training": self.left_out,
        }
        lines = [f"{line.format(len(found))}{self.read.some(found)}" for line, found in kinds.items() if found]
        return [*self.read.remarks, *lines] + [f"left out an image: {reason}" for reason in self.unreadable]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        known = self.images[index]
        path = self.folder / known["file_name"]
        image = read_rgb(path, self.root)
        size = (known["width"], known["height"])
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image.size != size or self.read.upright:
            image = ImageOps.exif_transpose(image)
        if image.size != size:
            raise ValueError(
                f"{path} has {image.width} x {image.height} pixels (EXIF orientation {orientation}), but {size[0]} x "
                f"{size[1]} as image {known['id']} of {self.annotations}"
            )
        objects = self.objects[known["id"]]
        boxes = tv_tensors.BoundingBoxes(objects["boxes"], format="XYXY", canvas_size=(image.height, image.width))
        sample = self.transform(objects | {"image": tv_tensors.Image(pil_to_tensor(image)), "boxes": boxes})
        boxes = sample["boxes"].as_subclass(Tensor)
        return {
            "image": sample["image"],
            "boxes": boxes,
            "labels": sample["labels"],
            "area": sample["filled"] * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": sample["iscrowd"],
            "image_id": known["id"],
            "path": str(path),
        }

    def _collect(
        self, content: Mapping[str, Any], crowds: bool, bad_boxes: Policy, refuse: Refuse
    ) -> dict[int, dict[str, Tensor]]:
        """Return for each image its ``boxes``, and for each box label, ``iscrowd`` and which part of it is filled."""
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        label_of = {identity: label for label, (identity, _) in self.categories.items()}
        rows: dict[int, list[tuple[list[float], int, int, float]]] = {image: [] for image in sizes}
        for annotation in content["annotations"]:
            name = self.read.place(annotation["id"])
            image, category, crowd = annotation["image_id"], annotation["category_id"], annotation.get("iscrowd", 0)
            if image not in sizes:
                error = ValueError(f"{name} is of image {image}, which is not among its images")
                refuse("annotations of unknown images", error)
                continue
            if category not in label_of:
                error = ValueError(
                    f"{name} has category {category}, which is not among its categories {list(label_of)}"
                )
                refuse("annotations of unknown classes", error)
                continue
            if crowd and not crowds:
                self.left_out.append(annotation["id"])
                continue
            box, cut = _clip(annotation["bbox"], *sizes[image])
            if not box:
                if bad_boxes == "error":
                    width, height = sizes[image]
                    error = ValueError(
                        f"{name} has the box {annotation['bbox']}, with no area inside an image of {width} x {height}"
                    )
                    refuse("boxes without area in their image", error)
                self.dropped.append(annotation["id"])
                continue
            if cut > 1:
                self.clipped.append(annotation["id"])
            extent = (box[2] - box[0]) * (box[3] - box[1])
            rows[image].append((box, label_of[category], int(crowd), annotation.get("area", extent) / extent))
        return {image: _columns(found) for image, found in rows.items()}


class ImageFiles(Dataset[dict[str, Any]]):
    """All images below a folder, in the order of their names.

    A sample is a dict with ``image`` (3, H, W), float32 in [0, 1], ``image_id``, its number from 1, and its ``path``.

    Args:
        folder: holds images in any format of torchvision's ``IMG_EXTENSIONS``.
        bad_images: see :class:`CocoDetection` for this and the following.
        links: whether a symbolic link may lead out of the folder.

    Attributes:
        unreadable: why each image that was dropped cannot be read.

    Raises:
        FileNotFoundError: if there are no images.
        OSError: when a file is read that is no image, or a damaged one, and if no other is left.
    """

    def __init__(self, folder: Path, bad_images: Policy = "error", links: Links = "inside") -> None:
        _check_policies(bad_images=bad_images)
        self.paths = find_images(folder)
        self.root = _root(folder, links)
        self.unreadable: list[str] = []
        if bad_images == "drop":
            reasons = _why_unreadable(self.paths, self.root, folder)
            self.unreadable = [reason for reason in reasons if reason]
            self.paths = [path for path, reason in zip(self.paths, reasons, strict=True) if not reason]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        image = to_dtype(pil_to_tensor(read_rgb(path, self.root)), torch.float32, scale=True)
        return {"image": image, "image_id": index + 1, "path": str(path)}

    def remarks(self) -> list[str]:
        """Return a line on each image that is left out."""
        return [f"left out an image: {reason}" for reason in self.unreadable]


def _check_policies(**policies: str) -> None:
    for name, policy in policies.items():
        if policy not in get_args(Policy):
            raise ValueError(f"{name} must be one of {', '.join(get_args(Policy))}, got {policy!r}")


def check_categories(dataset: CocoDetection, source: Path, categories: Categories) -> None:
    """Check that a data set has the categories of another, which was read from ``source``.

    Raises:
        ValueError: if it has others, whose labels would then mean different things.
    """
    if dataset.categories != categories:
        raise ValueError(
            f"{dataset.annotations} and {source} must have the same categories, got "
            f"{list(dataset.categories.values())} and {list(categories.values())}"
        )


def _root(folder: Path, links: Links) -> Path | None:
    if links not in ("inside", "anywhere"):
        raise ValueError(f"links must be 'inside' or 'anywhere', got {links!r}")
    return folder if links == "inside" else None


def _why_unreadable(paths: Sequence[Path], root: Path | None, source: Path) -> list[str]:
    """Return why each image cannot be read, or an empty text if it can.

    Raises:
        OSError: if none can.
    """
    reasons = []
    for path in paths:
        try:
            read_rgb(path, root)
            reasons.append("")
        except OSError as error:
            reasons.append(str(error))
    if all(reasons):
        raise OSError(f"none of the {len(paths)} images of {source} can be read; the first: {reasons[0]}")
    return reasons


def _clip(bbox: Sequence[float], width: int, height: int) -> tuple[list[float], float]:
    """Return what of a box x, y, width, height is inside an image, as x1, y1, x2, y2, and by how much it stuck out.

    The box is empty if it has no area there, or holds infinite values or NaN.
    """
    if not all(map(math.isfinite, bbox)):
        return [], 0.0
    x, y, w, h = bbox
    box = np.array([x, y, x + w, y + h], dtype=np.float64)
    inside = box.clip(0, [width, height] * 2)
    cut = float(np.abs(box - inside).max())
    x1, y1, x2, y2 = inside.astype(np.float32).tolist()  # as they are stored
    return ([x1, y1, x2, y2], cut) if min(x2 - x1, y2 - y1) > THINNEST else ([], cut)


def _columns(rows: list[tuple[list[float], int, int, float]]) -> dict[str, Tensor]:
    boxes, labels, crowds, filled = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "iscrowd": torch.tensor(crowds, dtype=torch.int64),
        "filled": torch.tensor(filled, dtype=torch.float32),
    }
