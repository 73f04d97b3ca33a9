"""Data set of images with boxes, perhaps masks and keypoints, in COCO's format; a check that two share categories."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import ExifTags, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.images import read_rgb
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.boxes import Categories
from lightning_coordconv.detection.coco_format import read_annotations
from lightning_coordconv.detection.image_files import Links, Policy, check_policies, root_of, why_unreadable
from lightning_coordconv.detection.orientation import with_orientation
from lightning_coordconv.detection.plausibility import implausible
from lightning_coordconv.detection.skeleton import Skeleton
from lightning_coordconv.detection.targets import TargetName, make_targets
from lightning_coordconv.detection.transforms import THINNEST, ImageAndBoxes

Row: TypeAlias = tuple[list[float], int, int, float, dict[TargetName, Any]]
"""Box, label, ``iscrowd``, filled part and targets of an object."""
WITHOUT_TARGETS = "annotations without what the targets need"
"""Kind of the annotations that are refused because their masks or keypoints are missing or wrong."""


class CocoDetection(Dataset[dict[str, Any]]):
    """The images of an annotation file in COCO's format, or of annotations of another format, with their boxes.

    A sample is a dict with

    =========  =======  =========  =========================================================================
    key        type     shape      what
    =========  =======  =========  =========================================================================
    image      float32  (3, H, W)  in [0, 1]
    boxes      float32  (n, 4)     x1, y1, x2, y2 in pixels, inside the image, of positive width and height
    labels     int64    (n,)       from 1 on: the rank of the category's id; 0 is torchvision's background
    masks      uint8    (n, H, W)  1 in the pixels of an object; only as a target
    keypoints  float32  (n, K, 3)  x, y in pixels, and visibility: 0, 1 or 2; only as a target
    area       float32  (n,)       in pixels, as annotated (COCO's is that of the segmentation)
    iscrowd    int64    (n,)       1 for a box around a crowd, which evaluation ignores
    image_id   int      ()         the file's
    file_name  str                 as in the annotations
    path       str                 of the image
    =========  =======  =========  =========================================================================

    An image may have no box. Whether boxes are drawn on stored images, or on those turned by EXIF, is decided for the
    whole file by the annotated sizes; see :func:`~lightning_coordconv.detection.orientation.are_turned`. If these do
    not say it, an image is turned only if it does not have the annotated size, and has it when it is turned.

    Args:
        folder: where the ``file_name`` of an image begins.
        annotations: the JSON file, or what a reader of another format returned.
        transforms: v2 transforms of image and boxes; see
            :class:`~lightning_coordconv.detection.transforms.ImageAndBoxes`.
        crowds: keep boxes around crowds; to a detector in training they are no objects.
        bad_boxes: what to do with boxes that have no area inside the image, or hold infinite values or NaN, and with
            masks without a pixel: ``"error"``, or ``"drop"``. Boxes that stick out of the image are cut at its border.
        bad_images: what to do with image files that are missing or damaged: ``"error"`` when one is read, or
            ``"drop"``, which reads all of them beforehand.
        links: whether an image may lie outside of the folder, by its path or behind a symbolic link: ``"inside"`` or
            ``"anywhere"``.
        refuse: receives each entry that contradicts the others; by default it is raised.
        targets: what samples have of each object beside its box and label: ``"masks"``, which annotations must have as
            polygons or run lengths, or ``"keypoints"``, of which categories must have names.
        flip_indices: for each keypoint, numbered from 0, the one that it becomes in a mirror; by default that of the
            same name with ``left`` and ``right`` exchanged.

    Attributes:
        skeleton: of the keypoints.
        dropped: ids of annotations whose box was dropped.
        unseen: ids of annotations that were dropped because their mask has no pixel in the image.
        clipped: ids of annotations whose box was cut by more than a pixel.
        left_out: ids of annotations of crowds that were left out.
        unreadable: why each image that was dropped cannot be read.

    Raises:
        FileNotFoundError: if there is no annotation file, or none of its images.
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
        targets: Iterable[TargetName] = (),
        flip_indices: Sequence[int] | None = None,
    ) -> None:
        check_policies(bad_boxes=bad_boxes, bad_images=bad_images)
        read = annotations if isinstance(annotations, Annotations) else read_annotations(annotations, refuse)
        content = read.content
        self.folder = folder
        self.root = root_of(folder, links)
        self.read = with_orientation(read, folder, self.root)
        self.annotations = read.source
        categories = sorted((category["id"], category["name"]) for category in content["categories"])
        self.categories: Categories = dict(enumerate(categories, start=1))
        self.targets = make_targets(targets, read, flip_indices)
        self.skeleton: Skeleton = getattr(self.targets.get("keypoints"), "skeleton", Skeleton())
        self.transform = ImageAndBoxes(transforms, [key for target in self.targets.values() for key in target.keys])
        self.images: list[dict[str, Any]] = sorted(content["images"], key=lambda image: image["id"])
        if self.images and not any((folder / image["file_name"]).exists() for image in self.images):
            raise FileNotFoundError(
                f"none of the images of {read.source} is in {folder}, such as {self.images[0]['file_name']}: "
                "train_images, val_images and test_images are the folders that hold them"
            )
        self.unreadable: list[str] = []
        if bad_images == "drop":
            reasons = why_unreadable([folder / image["file_name"] for image in self.images], self.root, read.source)
            self.unreadable = [reason for reason in reasons if reason]
            self.images = [image for image, reason in zip(self.images, reasons, strict=True) if not reason]
        self.dropped: list[int] = []
        self.unseen: list[int] = []
        self.clipped: list[int] = []
        self.left_out: list[int] = []
        self.objects = self._collect(content, crowds, bad_boxes, refuse)
        if all(self.objects[image["id"]]["iscrowd"].all() for image in self.images):
            reason = "; ".join(self._unused()) or ("only crowds" if content["annotations"] else "no annotations")
            raise ValueError(
                f"{read.source} has no box to detect in the {count(len(self.images), 'image')} of a split: {reason}"
            )

    def remarks(self) -> list[str]:
        """Return a line on each kind of annotation that is not used as it is or looks wrong, and each missing image."""
        return self._unused() + implausible(self.read)

    def _unused(self) -> list[str]:
        kinds = {
            "dropped boxes without area in their image": self.dropped,
            "dropped objects whose mask has no pixel in their image": self.unseen,
            "cut boxes at the border of their image": self.clipped,
            "left out crowds or difficult objects, which are no objects in training": self.left_out,
        }
        lines = [f"{line} ({len(found)}){self.read.some(found)}" for line, found in kinds.items() if found]
        return [*self.read.remarks, *lines] + [f"left out an image: {reason}" for reason in self.unreadable]

    def absent_classes(self) -> list[str]:
        """Return the names of the classes of which no image has an object."""
        present = {label for objects in self.objects.values() for label in objects["labels"].tolist()}
        return [name for label, (_, name) in self.categories.items() if label not in present]

    @property
    def sample_files(self) -> list[Path]:
        """The file of each sample."""
        return [self.folder / image["file_name"] for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        known = self.images[index]
        path = self.folder / known["file_name"]
        image = read_rgb(path, self.root, upright=False)  # boxes may be given in the stored pixels
        size = (known["width"], known["height"])
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image.size != size or self.read.upright:
            image = ImageOps.exif_transpose(image)
        if image.size != size:
            raise ValueError(
                f"{path} has {image.width} x {image.height} pixels (EXIF orientation {orientation}), but {size[0]} x "
                f"{size[1]} as image {known['id']} of {self.annotations}"
            )
        sample = self.transform(self.annotated(known) | {"image": tv_tensors.Image(pil_to_tensor(image))})
        boxes = sample["boxes"].as_subclass(Tensor)
        return {
            "image": sample["image"],
            "boxes": boxes,
            "labels": sample["labels"],
            **{key: value for target in self.targets.values() for key, value in target.finish(sample).items()},
            "area": sample["filled"] * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": sample["iscrowd"],
            "image_id": known["id"],
            "file_name": known["file_name"],
            "path": str(path),
        }

    def annotated(self, image: Mapping[str, Any]) -> dict[str, Any]:
        """Return the objects of one of ``images``, as the transforms get them."""
        size = (image["width"], image["height"])
        objects = dict(self.objects[image["id"]])
        for name, target in self.targets.items():
            objects |= target.tensors(objects.pop(name), *size)
        return objects | {"boxes": tv_tensors.BoundingBoxes(objects["boxes"], format="XYXY", canvas_size=size[::-1])}

    def _collect(
        self, content: Mapping[str, Any], crowds: bool, bad_boxes: Policy, refuse: Refuse
    ) -> dict[int, dict[str, Any]]:
        """Return for each image its ``boxes``, and for each box label, ``iscrowd``, targets and its filled part."""
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        label_of = {identity: label for label, (identity, _) in self.categories.items()}
        rows: dict[int, list[Row]] = {image: [] for image in sizes}
        for annotation in content["annotations"]:
            place = self.read.place(annotation["id"])
            image, category = annotation["image_id"], annotation["category_id"]
            if image not in sizes:
                error = ValueError(f"{place} is of image {image}, which is not among its images")
                refuse("annotations of unknown images", error)
            elif category not in label_of:
                error = ValueError(
                    f"{place} has category {category}, which is not among its categories {list(label_of)}"
                )
                refuse("annotations of unknown classes", error)
            elif annotation.get("iscrowd", 0) and not crowds:
                self.left_out.append(annotation["id"])
            else:
                row = self._object(annotation, label_of[category], *sizes[image], bad_boxes, refuse)
                rows[image] += [] if row is None else [row]
        return {image: _columns(found, self.targets) for image, found in rows.items()}

    def _object(
        self, annotation: Mapping[str, Any], label: int, width: int, height: int, bad_boxes: Policy, refuse: Refuse
    ) -> Row | None:
        """Return what an annotation says of an object; ``None`` if it is dropped or refused."""
        place, identity = self.read.place(annotation["id"]), annotation["id"]
        box, cut = _clip(annotation["bbox"], width, height)
        if not box:
            if bad_boxes == "error":
                error = ValueError(
                    f"{place} has the box {annotation['bbox']}, with no area inside an image of {width} x {height}"
                )
                refuse("boxes without area in their image", error)
            self.dropped.append(identity)
            return None
        try:
            values = {name: target.read(annotation, width, height) for name, target in self.targets.items()}
        except ValueError as fault:
            refuse(WITHOUT_TARGETS, ValueError(f"{place} {fault}"))
            return None
        if None in values.values():
            if bad_boxes == "error":
                error = ValueError(f"{place} has a segmentation without a pixel in an image of {width} x {height}")
                refuse("masks without a pixel in their image", error)
            self.unseen.append(identity)
            return None
        if cut > 1:
            self.clipped.append(identity)
        extent = (box[2] - box[0]) * (box[3] - box[1])
        filled = annotation.get("area", extent) / extent
        return box, label, int(annotation.get("iscrowd", 0)), filled, values


def check_categories(dataset: CocoDetection, other: CocoDetection) -> None:
    """Check that a data set has the categories and keypoints of another.

    Raises:
        ValueError: if it has others, whose labels or keypoints would then mean different things.
    """
    for what, mine, theirs in (
        ("categories", list(dataset.categories.values()), list(other.categories.values())),
        ("keypoints", list(dataset.skeleton.names), list(other.skeleton.names)),
    ):
        if mine != theirs:
            raise ValueError(
                f"{dataset.annotations} and {other.annotations} must have the same {what}, got {mine} and {theirs}"
            )


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


def _columns(rows: list[Row], targets: Iterable[TargetName]) -> dict[str, Any]:
    boxes, labels, crowds, filled, values = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "iscrowd": torch.tensor(crowds, dtype=torch.int64),
        "filled": torch.tensor(filled, dtype=torch.float32),
        **{name: [found[name] for found in values] for name in targets},
    }
