"""Functions for tests that write three photographs with boxes as YOLO or Pascal VOC data, and build data modules."""

import json
from pathlib import Path

from lightning_coordconv.detection import (
    VocDetectionDataModule,
    YoloDetectionDataModule,
)
from tests.photographs import CATEGORIES, write_photographs

NAMES = list(CATEGORIES.values())


def photographs(folder: Path) -> tuple[list[dict], dict[int, list[tuple[str, list[float]]]]]:
    """Write the photographs into a folder, and return the images and, by image, names and boxes (x, y, w, h)."""
    content = json.loads((write_photographs(folder) / "boxes.json").read_text())
    (folder / "boxes.json").unlink()
    boxes: dict[int, list[tuple[str, list[float]]]] = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        boxes[row["image_id"]].append((CATEGORIES[row["category_id"]], row["bbox"]))
    return content["images"], boxes


def write_yolo(root: Path) -> Path:
    """Write ``data.yaml``, ``images/{train,val}`` and ``labels/{train,val}``; both splits hold all photographs."""
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        images, boxes = photographs(root / "images" / split)
        for image in images:
            width, height = image["width"], image["height"]
            lines = [
                f"{NAMES.index(name)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} "
                f"{h / height:.6f}"
                for name, (x, y, w, h) in boxes[image["id"]]
            ]
            name = Path(image["file_name"]).with_suffix(".txt").name
            (root / "labels" / split / name).write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnc: {len(NAMES)}\nnames: {NAMES}\n")
    return root


def xml(image: dict, boxes: list[tuple[str, list[float]]]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for name, (x, y, w, h) in boxes
    )
    size = f"<size><width>{image['width']}</width><height>{image['height']}</height><depth>3</depth></size>"
    return f"<annotation><filename>{image['file_name']}</filename>{size}{objects}</annotation>"


def write_voc(root: Path, lists: bool = True) -> Path:
    """Write ``Annotations``, ``JPEGImages`` and, if asked for, ``ImageSets/Main``; both splits hold all photographs."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    images, boxes = photographs(root / "JPEGImages")
    for image in images:
        path = root / "Annotations" / f"{Path(image['file_name']).stem}.xml"
        path.write_text(xml(image, boxes[image["id"]]))
    for split in ("train", "val") if lists else ():
        names = "".join(f"{Path(image['file_name']).stem}\n" for image in images)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    return root


def yolo(folder: Path, **arguments: object) -> YoloDetectionDataModule:
    return YoloDetectionDataModule(str(folder), num_workers=0, **arguments)


def voc(folder: Path, **arguments: object) -> VocDetectionDataModule:
    return VocDetectionDataModule(str(folder), num_workers=0, **arguments)


def named(sample: dict, categories: dict) -> list[tuple[str, list[float]]]:
    names = [categories[label][1] for label in sample["labels"].tolist()]
    return list(zip(names, sample["boxes"].tolist(), strict=True))
