"""Functions that make three data sets, run ``advise`` on them and other libraries' models, and fill ``docs/advice.md``.

The data are made of photographs and digits that installed packages ship: a folder in COCO's format, an image folder,
and a folder of images and masks. The models are of torchvision, timm and segmentation-models-pytorch.
"""

import json
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from benchmarks import results
from benchmarks.pages import fill
from lightning_coordconv.position.command import main

RECORD = results.RUNS.parent / "position_advice_foreign.json"
PAGE = Path(__file__).parents[2] / "docs" / "advice.md"
COMMAND = "python -m benchmarks.position --foreign"
BOXES = {
    "china.jpg": [(1, (63, 30, 372, 427)), (2, (546, 136, 640, 427))],
    "flower.jpg": [(3, (168, 85, 446, 359)), (3, (288, 375, 470, 427))],
}
"""Category and x1, y1, x2, y2 of boxes drawn by hand on photographs of scikit-learn, in pixels."""
CATEGORIES = ("pagoda", "tree", "dahlia")
CROPS = {"train": 240, "val": 10}
LEAST = 16
"""Boxes of which less is left in a crop, in pixels, are left out."""

CASES = {
    "crops of photographs with boxes, in COCO's format; Faster R-CNN of torchvision": [
        "--model", "fasterrcnn_mobilenet_v3_large_320_fpn",
        "--data", "lightning_coordconv.detection.CocoDetectionDataModule", "--data.root", "coco",
        "--data.train_annotations", "train.json", "--data.val_annotations", "val.json", "--data.train_transforms", "[]",
    ],
    "scikit-learn's digits in an image folder; ResNet-18 of timm": [
        "--model", "timm/resnet18", "--data", "lightning_coordconv.classification.ImageFolderDataModule",
        "--data.root", "digits", "--data.image_size", "64",
    ],
    "crops of photographs with masks of sky and petals; U-Net of segmentation-models-pytorch": [
        "--model", "segmentation_models_pytorch.Unet", "--model.encoder_name", "resnet18",
        "--model.encoder_weights", "null", "--model.classes", "3",
        "--data", "lightning_coordconv.segmentation.MaskFolderDataModule", "--data.root", "masks",
        "--data.num_classes", "3",
    ],
}  # fmt: skip
"""Arguments of ``lightning-coordconv advise`` by title."""


def crop(draw: random.Random) -> tuple[str, Image.Image, int, int]:
    """Return a random crop of a photograph: its name, the crop, and the column and the row of its first pixel."""
    name = draw.choice(list(BOXES))
    picture = Image.fromarray(load_sample_image(name))
    width, height = (draw.randint(length // 2, length) for length in picture.size)
    left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
    return name, picture.crop((left, top, left + width, top + height)), left, top


def write_coco(folder: Path, draw: random.Random) -> None:
    """Write crops of photographs, and their boxes, cut at the border, in COCO's format."""
    folder.mkdir()
    for split, count in CROPS.items():
        images: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for number in range(count):
            name, picture, left, top = crop(draw)
            file = f"{split}{number}.jpg"
            picture.save(folder / file)
            images.append({"id": number, "file_name": file, "width": picture.width, "height": picture.height})
            for category, (x1, y1, x2, y2) in BOXES[name]:
                x1, x2 = (min(max(x - left, 0), picture.width) for x in (x1, x2))
                y1, y2 = (min(max(y - top, 0), picture.height) for y in (y1, y2))
                if min(x2 - x1, y2 - y1) >= LEAST:
                    box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                    boxes.append({"id": len(boxes) + 1, "image_id": number, "category_id": category, **box})
        categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=1)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))


def write_digits(folder: Path) -> None:
    """Write scikit-learn's digits as ``{train,val}/<digit>/<number>.png``, every fifth for validation."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        target = folder / ("train" if number % 5 else "val") / str(label)
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(target / f"{number}.png")


def write_masks(folder: Path, draw: random.Random) -> None:
    """Write crops of photographs, with masks by colour: 1 for the sky, 2 for petals, 0 for the rest."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(CROPS["train"]):
        picture = crop(draw)[1].resize((128, 96))
        red, green, blue = np.asarray(picture).astype(int).transpose(2, 0, 1)
        mask = np.where(red > green + 60, 2, np.where((blue > red + 10) & (red + green + blue > 300), 1, 0))
        picture.save(folder / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{number}.png")


def record() -> None:
    """Make the data, run ``advise`` on each, and write the sentences, the CPU seconds and the page."""
    found = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_coco(folder / "coco", random.Random(0))
        write_digits(folder / "digits")
        write_masks(folder / "masks", random.Random(1))
        for title, arguments in CASES.items():
            begin = time.process_time()
            index = arguments.index("--data.root") + 1
            placed = [*arguments[:index], str(folder / arguments[index]), *arguments[index + 1 :]]
            torch.manual_seed(0)
            advice = main([*placed, "--out", str(folder / "advice")])
            found[title] = {"sentences": advice.sentences, "cpu_seconds": round(time.process_time() - begin)}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    write()


def text() -> str:
    """Return the command of each case, how long it took, and what it printed."""
    parts = []
    for title, case in json.loads(RECORD.read_text()).items():
        words = " ".join(CASES[title]).replace(" --data ", " \\\n  --data ")
        printed = "\n".join(case["sentences"])
        parts.append(
            f"**{title[0].upper()}{title[1:]}**, {case['cpu_seconds']} seconds of one core:\n\n"
            f"```text\nlightning-coordconv advise {words}\n```\n\n```text\n{printed}\n```"
        )
    return "\n\n".join(parts)


def write() -> None:
    """Write the page from the record."""
    fill(PAGE, COMMAND, {"foreign": text})
