"""Functions for tests that make noise images, and write three photographs with boxes, masks and keypoints (COCO).

Boxes are drawn by hand. The mask of each object is the octagon in its box, a polygon or run lengths, and it has three
keypoints on the middle line of the box.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from tests.run_lengths import compressed, runs_of

CATEGORIES = {3: "pagoda", 7: "tree", 18: "dahlia", 44: "hat", 90: "glasses"}  # ids with gaps, as COCO's
BOXES = {  # x1, y1, x2, y2 in the full-size photographs
    "china.jpg": [(3, (63, 30, 372, 427)), (7, (546, 136, 640, 427))],
    "flower.jpg": [(18, (168, 85, 446, 359)), (18, (288, 375, 470, 427))],
    "hopper.jpg": [(44, (146, 22, 372, 183)), (90, (177, 168, 358, 231))],
}


KEYPOINTS = {"keypoints": ["left_end", "right_end", "middle"], "skeleton": [[1, 3], [3, 2]]}


def octagon(x: float, y: float, w: float, h: float) -> list[float]:
    shares = ((0.3, 0), (0.7, 0), (1, 0.3), (1, 0.7), (0.7, 1), (0.3, 1), (0, 0.7), (0, 0.3))
    return [edge for across, down in shares for edge in (x + across * w, y + down * h)]


def segmentation(number: int, polygon: list[float], height: int, width: int) -> object:
    """Return a polygon, uncompressed run lengths or compressed ones, in turn."""
    if number % 3 == 0:
        return [polygon]
    drawn = Image.new("1", (width, height))
    ImageDraw.Draw(drawn).polygon(polygon, fill=1)
    runs = runs_of(np.asarray(drawn))
    return {"size": [height, width], "counts": compressed(runs) if number % 3 == 1 else runs}


def noise(size: tuple[int, int], spread: float = 60, seed: int = 0) -> Image.Image:
    """Return a grey image of Gaussian noise of a size (width, height), the same in each run."""
    values = np.random.default_rng(seed).normal(128, spread, size[::-1])
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def write_photographs(folder: Path, shrink: int = 4) -> Path:
    """Write the photographs, smaller, and ``boxes.json`` into a folder, and return it."""
    images, annotations = [], []
    for number, (name, boxes) in enumerate(BOXES.items(), start=1):
        if name == "hopper.jpg":
            image = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
        else:
            image = Image.fromarray(load_sample_image(name))
        image = image.reduce(shrink)
        image.save(folder / name, quality=95)
        images.append({"id": 10 * number, "file_name": name, "width": image.width, "height": image.height})
        for category, (x1, y1, x2, y2) in boxes:
            x, y, w, h = (
                edge / shrink
                for edge in (x1, y1, min(x2, image.width * shrink) - x1, min(y2, image.height * shrink) - y1)
            )
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 10 * number, "category_id": category, "bbox": [x, y, w, h],
                 "area": w * h, "iscrowd": 0,
                 "segmentation": segmentation(len(annotations), octagon(x, y, w, h), image.height, image.width),
                 "keypoints": [x, y + h / 2, 2, x + w, y + h / 2, 1, x + w / 2, y + h / 2, 2], "num_keypoints": 3}
            )  # fmt: skip
    categories = [{"id": identity, "name": name, **KEYPOINTS} for identity, name in CATEGORIES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder
