"""The command ``lightning-coordconv data check``: reports contents and faults of data, and draws samples of them."""

import argparse
import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.files import complete_file, refuse_input
from lightning_coordconv.core.pictures import to_picture
from lightning_coordconv.core.repeated_files import remarks_on_files
from lightning_coordconv.core.survey import Survey
from lightning_coordconv.runtime.config_files import read_config
from lightning_coordconv.runtime.errors import OneLineParser
from lightning_coordconv.runtime.shipped_configs import find

PACKAGE = __name__.partition(".")[0]
DOMAINS = ("coordinates", "detection", "segmentation", "classification", "generative")
"""Domains that read files of users. Their function ``surveys`` tells whether it knows the format of a folder."""
SAMPLES = 12
COLUMNS = 4
TILE = 480
"""Width and height in pixels that a sample is scaled to fit."""
GAP = 12
"""Pixels between samples."""
LESS_SPECIFIC = ("classification", "generative")
"""Domains whose formats other ones include: folders named images, labels or masks are no classes, all hold pictures."""
LAYOUTS = (
    "a CSV file of points, annotations in JSON (COCO), data.yaml (YOLO), Annotations and JPEGImages (Pascal VOC), "
    "images and masks, train/<class> and val/<class>, or pictures"
)


def main(args: Sequence[str] | None = None) -> None:
    """Print what is in a folder of data, draw samples, and exit with 1 if a run would refuse any of it.

    Args:
        args: arguments as a list; those of the process by default.
    """
    options = make_parser().parse_args(args)
    path = options.path.expanduser()
    with _kept_from_the_log() as said:
        check_at_least(1, images=options.images)
        if path.is_dir() and options.out.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"{options.out} would become a picture of the data in {path}: give --out a file outside of this folder "
                "and of the folders in it"
            )
        survey = _recognised(path)(options.images)
        survey.remarks += dict.fromkeys(said)  # as in a run, but those of several splits once
        survey.remarks += remarks_on_files(path, survey.images, survey.others)
        survey.remarks += [
            f"{file} is not read with the folder; if it holds points, check it by its path"
            for file in (sorted(path.glob("*.csv")) if path.is_dir() else ())
        ]
        refuse_input(options.out, [path, *chain.from_iterable(survey.images.values()), *survey.others])
        survey.options = _for_this_machine(survey.options)
        print(survey.report())
        figures = survey.figures(SAMPLES)
        if figures:
            with complete_file(options.out) as part:
                _tiled([to_picture(figure) for figure in figures]).save(part)
            print(f"{count(len(figures), 'sample')} in {options.out}")
    raise SystemExit(1 if survey.refused else 0)


@contextmanager
def _kept_from_the_log() -> Iterator[list[str]]:
    """Return a context in which what the data modules log, with Lightning's logger, is appended to a list instead."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)


def _recognised(path: Path) -> Callable[[int], Survey]:
    """Return the function that surveys a file or folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if its format is not known, or it holds data of several formats.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    found: dict[str, Any] = {}
    for domain in DOMAINS:
        if domain in LESS_SPECIFIC and found:
            break
        found |= importlib.import_module(f"{PACKAGE}.{domain}").surveys(path)
    if not found:
        raise ValueError(f"{path} holds no data in a known format: expected {LAYOUTS}")
    if len(found) > 1:
        raise ValueError(f"{path} holds data of several formats, {' and '.join(found)}: keep each in a folder")
    return next(iter(found.values()))


def _for_this_machine(options: str) -> str:
    """Return options of ``fit``, with single precision if the processor only emulates the bfloat16 of the config."""
    import torch

    from lightning_coordconv.runtime.precision import emulates_bfloat16

    if not options or torch.cuda.is_available() or not emulates_bfloat16():
        return options
    entries = [entry for path in find(options.split()[1]) for entry in read_config(path)]
    precision = [entry.value.value for entry in entries if entry.name == "trainer.precision"]
    return f"{options} --trainer.precision 32-true" if "bf16" in "".join(precision) else options


def _tiled(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return pictures as one, row by row, each scaled to fit its tile."""
    tiles = [ImageOps.contain(picture, (TILE, TILE)) for picture in pictures]
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.height for tile in row) + GAP for row in rows]
    sheet = Image.new("RGB", (len(rows[0]) * (TILE + GAP), sum(heights)), "white")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * (TILE + GAP) + (TILE - tile.width) // 2, sum(heights[:number])))
    return sheet


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        "lightning-coordconv data",
        description="Look at data before training on them: lightning-coordconv data check PATH.",
        allow_abbrev=False,
    )
    check = parser.add_subparsers(dest="check", metavar="check PATH", required=True).add_parser(
        "check",
        help="say what is in a folder, and what a run would refuse",
        description="Print the images and classes of each split, what a run would refuse and what it would leave out, "
        "and draw twelve samples. Exit with 1 if a run would refuse any of it.",
    )
    check.add_argument(
        "path",
        type=Path,
        help="a folder, an annotation file in COCO's format, a YAML file in YOLO's, or a CSV file of points",
    )
    check.add_argument(
        "--out",
        type=Path,
        default=Path("data_check.png"),
        help="the picture of samples to write; data_check.png by default",
    )
    check.add_argument(
        "--images",
        type=int,
        default=200,
        help="number of images of a split that are decoded, evenly spread; 200 by default",
    )
    return parser
