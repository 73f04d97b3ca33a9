"""Three real photographs that packages ship, with boxes drawn by hand, as a data set in COCO's format."""

import json
from pathlib import Path

from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_image

CATEGORIES = {3: "pagoda", 7: "tree", 18: "dahlia", 44: "hat", 90: "glasses"}  # ids with gaps, as COCO's
BOXES = {  # x1, y1, x2, y2 in the full-size photographs
    "china.jpg": [(3, (63, 30, 372, 427)), (7, (546, 136, 640, 427))],
    "flower.jpg": [(18, (168, 85, 446, 359)), (18, (288, 375, 470, 427))],
    "hopper.jpg": [(44, (146, 22, 372, 183)), (90, (177, 168, 358, 231))],
}


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
                 "area": w * h, "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": identity, "name": name} for identity, name in CATEGORIES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder
