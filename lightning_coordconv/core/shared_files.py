"""Function that logs training images that are in the validation or test split too."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.image_search import identity_of
from lightning_coordconv.core.protocols import DatasetOfFiles

COMPARED = {"train": {"validation": "val", "test": "test"}, "test": {"test": "test"}}
"""Splits that training is compared with, by the split that was built."""


def report_shared(split: str, built: Mapping[Any, Any], make: Callable[[Any], Any]) -> None:
    """Log the training images that are evaluated too, also behind links: metrics of these are too good.

    Those of a test are compared when training or test are built, whichever is first.

    Args:
        split: that was built last.
        built: data sets by their split.
        make: builds the data set of another split, which is not kept. A split that cannot be built is not compared: it
            is refused where it is used.
    """
    if not isinstance(built[split], DatasetOfFiles) or split not in COMPARED or (split == "test" and "train" in built):
        return
    training = [(path, identity_of(path)) for path in _files("train", built, make)]
    compared: list[Sequence[Path]] = []
    for name, other in COMPARED[split].items():
        files = _files(other, built, make)
        known = {identity_of(path) for path in files}
        shared = [path for path, identity in training if identity in known]
        if shared and files not in compared:  # the validation split may serve as test split
            rank_zero_info(f"data of the train split: {listed(f'images that are in the {name} split too', shared)}")
        compared.append(files)


def _files(split: str, built: Mapping[Any, Any], make: Callable[[Any], Any]) -> Sequence[Path]:
    with suppress(Exception):
        dataset = built[split] if split in built else make(split)
        if isinstance(dataset, DatasetOfFiles):
            return dataset.sample_files
    return []
