"""Functions for tests that write data of several formats, and run the command ``data check`` on them."""

from pathlib import Path

import pytest
from PIL import Image

from lightning_coordconv.runtime.cli import main
from tests.photographs import write_photographs
from tests.segmentation.masks import write_masks


def check(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run the command; return its exit code, and its report or its one line."""
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(path), "--out", str(path.parent / "samples.png"), *options])
    out, err = capsys.readouterr()
    return int(exited.value.code), out or err


def row(report: str, first: str) -> list[str]:
    return next(line for line in report.splitlines() if line.startswith(first)).split()[1:]


def write_classes(root: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(count + label):
                Image.new("RGB", (20 + number, 20), (100 * label, 50, count)).save(
                    root / split / name / f"{number}.png"
                )
    return root


def write_coco(root: Path) -> Path:
    root.mkdir()
    return write_photographs(root)


def write_pairs(root: Path) -> Path:
    root.mkdir()
    return write_masks(root, copies=2)


def write_pictures(root: Path) -> Path:
    (root / "more").mkdir(parents=True)
    write_photographs(root)
    (root / "boxes.json").unlink()
    for number in range(20):
        Image.new("RGB", (30, 20), (10 * number, 50, 0)).save(root / "more" / f"{number}.png")
    return root
