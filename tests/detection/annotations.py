"""Functions for tests that write a COCO file of two images with boxes as wished."""

import json
from pathlib import Path


def write(folder: Path, **changes: object) -> Path:
    """An annotation file with one box of category 7, changed as wished."""
    content = {
        "images": [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in ((5, "b.png"), (3, "a.png"))],
        "annotations": [annotation(1, [10, 5, 20, 10])],
        "categories": [{"id": 9, "name": "cup"}, {"id": 7, "name": "cat"}],
    } | changes  # fmt: skip
    path = folder / "boxes.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def annotation(number: int, bbox: object, **changes: object) -> dict[str, object]:
    return {"id": number, "image_id": 3, "category_id": 7, "bbox": bbox, "area": 100, "iscrowd": 0, **changes}
