"""Functions that decide whether the boxes of a data set refer to images as stored, or as turned by their EXIF."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.images import orientation_of, reading
from lightning_coordconv.core.survey import Size
from lightning_coordconv.detection.annotations import NAMED, Annotations


def are_turned(sizes: Mapping[Path, Size | None], root: Path | None = None) -> tuple[bool, list[str]]:
    """Tell whether boxes refer to images that are turned as their EXIF orientation says, as a viewer shows them.

    Images that EXIF turns on their side (orientations 5 to 8) and that are not square prove it by their annotated size.
    If all of these have the turned size, boxes refer to turned images, also where EXIF keeps the size; if all have the
    stored size, to stored pixels. If they differ, or there are none, the others are taken to be on stored pixels.

    Files that cannot be read, and TIFF files, which Pillow turns in any case, prove nothing.

    Args:
        sizes: annotated width and height of each image, ``None`` if the annotation has none.
        root: a folder that images must be in, after links have been followed; anywhere by default.

    Returns:
        Whether they are turned, and lines on what is not proved and on what is not read of the images.
    """
    turned: list[Path] = []
    stored: list[Path] = []
    unproved: list[Path] = []
    headers = read_headers(sizes, root)
    for path in headers.turned:
        size = sizes[path]
        with reading(path, root) as file:
            if file.format == "TIFF":
                continue
            if orientation_of(file) < 5 or file.width == file.height or size is None:
                unproved.append(path)
            elif size == file.size:
                stored.append(path)
            elif size == file.size[::-1]:
                turned.append(path)
    if turned and stored:
        line = (
            f"boxes are on images turned by their EXIF orientation in {listed('some files', turned, 1)}, and on stored "
            f"pixels in {listed('others', stored, 1)}, by the annotated sizes: each is read by its size, and as stored "
            "where that does not say it"
        )
        return False, [*headers.remarks, line]
    if unproved and not turned and not stored:
        kind = "images that EXIF turns, of which no annotated size says whether boxes are on the turned image"
        line = f"{listed(kind, unproved, NAMED)}; boxes are taken to be on the stored pixels"
        return False, [*headers.remarks, line]
    return bool(turned), headers.remarks


def with_orientation(annotations: Annotations, folder: Path, root: Path | None) -> Annotations:
    """Return annotations that say whether their boxes refer to turned images, by the sizes of all images of the file.

    Args:
        annotations: if they say it, they are returned as they are.
        folder: where the ``file_name`` of an image begins.
        root: see :func:`are_turned`.
    """
    if annotations.upright is not None:
        return annotations
    images = annotations.content["images"]
    upright, lines = are_turned(
        {folder / image["file_name"]: (image["width"], image["height"]) for image in images}, root
    )
    return replace(annotations, upright=upright, remarks=[*annotations.remarks, *lines])
