"""Trains a detector from random weights on 32 drawn pictures, and tests it (mAP): ``python -m benchmarks.small_data``.

The pictures have 320 x 240 pixels, and one to three rectangles and ellipses each, of two classes: 32 are for
training and eight for the test. The recipe is ``detection/coco_coordconv`` with the overlay
``detection/ablations/from_scratch``. The command prints what ``fit`` prints, with COCO's mAP of the test.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SIZE = (320, 240)
PICTURES = {"train": 32, "val": 8}
CLASSES = ("rectangle", "ellipse")


def draw(folder: Path, split: str, seed: int) -> None:
    """Draw the pictures of a split into a folder, with a file of boxes in COCO's format, ``<split>.json``.

    Args:
        folder: exists.
        split: ``train`` or ``val``.
        seed: of what is drawn.
    """
    generator = random.Random(f"{split} {seed}")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(PICTURES[split]):
        picture = Image.linear_gradient("L").resize(SIZE).convert("RGB")
        pen = ImageDraw.Draw(picture)
        for _ in range(generator.randint(1, 3)):
            kind = generator.randrange(len(CLASSES))
            width, height = (generator.randint(40, 120) for _ in range(2))
            left, top = (generator.randint(0, whole - part) for whole, part in zip(SIZE, (width, height), strict=True))
            colour = tuple(generator.randrange(256) for _ in range(3))
            shape = pen.rectangle if kind == 0 else pen.ellipse
            shape((left, top, left + width - 1, top + height - 1), fill=colour)
            box = {"bbox": [left, top, width, height], "area": width * height, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, "category_id": kind + 1, **box})
        name = f"{split}{number}.jpg"
        picture.save(folder / name, quality=95)
        images.append({"id": number + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(content))


def main() -> None:
    """Draw, train and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        for split in PICTURES:
            draw(Path(folder), split, seed)
        subprocess.run(
            [sys.executable, "-m", "lightning_coordconv", "fit", "-c", "detection/coco_coordconv",
             "-c", "detection/ablations/from_scratch", "--data.root", folder,
             "--data.train_annotations", "train.json", "--data.train_images", ".",
             "--data.val_annotations", "val.json", "--data.val_images", ".", "--seed_everything", str(seed),
             "--trainer.check_val_every_n_epoch", "10",  # which decides between six checkpoints
             "--trainer.logger.init_args.save_dir", folder], check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
