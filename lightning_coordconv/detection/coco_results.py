"""Callback that writes predicted objects to a file in COCO's results format, and draws them on their images."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchvision.ops import box_convert

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.files import write_text
from lightning_coordconv.core.predictions import WritesPredictions
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.ranks import gathered
from lightning_coordconv.detection.figures import draw_sample, samples_of
from lightning_coordconv.detection.masks import run_lengths

NAME = 50
"""Letters of an image's name in the name of its overlay: file systems allow 255 bytes."""

FILES = {"detections.json": "bbox", "segmentations.json": "segmentation", "keypoints.json": "keypoints"}
"""What the results of each file hold beside the score."""
NEEDED = {"segmentations.json": "masks", "keypoints.json": "keypoints"}
"""What a network must find for results in a file."""


class CocoResults(CheckedArguments, WritesPredictions, BasePredictionWriter):
    """Write predictions in COCO's results format to ``detections.json``, and draw them in ``overlays/``.

    Both are beside the logs. A result has ``image_id``, ``category_id`` (as in the annotation file), ``bbox`` (x, y,
    width, height in pixels) and ``score``, and, in addition to COCO's format, the ``file_name``, which is that of the
    annotations, or the path from the folder of images to make predictions for. Networks with masks or keypoints have
    results without ``bbox`` in further files, because pycocotools takes the area of a result from its box where it has
    one: ``segmentations.json`` with the ``segmentation`` of each mask, as compressed run lengths, and
    ``keypoints.json``. Under DDP the results of all ranks go to one file, rank after rank.

    Args:
        num_overlays: largest number of pictures that a rank draws.
    """

    outputs = (*FILES, "overlays")

    def __init__(self, num_overlays: int = 100) -> None:
        super().__init__(write_interval="batch_and_epoch")
        self.num_overlays = num_overlays
        self.rows: list[dict[str, Any]] = []
        self.drawn = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the results of an earlier prediction of this trainer."""
        super().on_predict_start(trainer, pl_module)
        self.rows, self.drawn = [], 0

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Mapping[str, Tensor]],
        batch_indices: Sequence[int] | None,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep the results of a batch, and draw them."""
        data = data_module(trainer)
        for sample in samples_of(batch, prediction):
            self.rows += _results(sample, getattr(data, "categories", {}))
            if self.drawn < self.num_overlays:
                path = self.folder / "overlays" / f"{_name(sample)}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                draw_sample(data, sample).savefig(path)
                self.drawn += 1

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, batch_indices: Any
    ) -> None:
        """Gather the results of all ranks and write them."""
        rows = [row for part in gathered(self.rows) for row in part]
        drawn = sum(gathered(self.drawn))
        if trainer.is_global_zero:
            targets = getattr(pl_module, "net_targets", ())
            files = [name for name in FILES if name not in NEEDED or NEEDED[name] in targets]
            for name in files:
                left_out = {*FILES.values()} - {FILES[name]}
                part = [{key: value for key, value in row.items() if key not in left_out} for row in rows]
                write_text(self.folder / name, json.dumps(part))
            pictures = f", and {count(drawn, 'picture')} to {self.folder / 'overlays'}" if drawn else ""
            paths = " and ".join(str(self.folder / name) for name in files)
            rank_zero_info(f"Wrote {count(len(rows), 'detection')} to {paths}{pictures}")


def _results(sample: Mapping[str, Any], categories: Mapping[int, tuple[int, str]]) -> list[dict[str, Any]]:
    found = sample["predicted"]
    columns = (box_convert(found["boxes"].float(), "xyxy", "xywh"), found["labels"], found["scores"].float())
    known = {"image_id": int(sample["image_id"])}
    if "file_name" in sample:
        known["file_name"] = sample["file_name"]
    rows = [
        known | {"category_id": categories[label][0] if label in categories else label, "bbox": box, "score": score}
        for box, label, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
    if "masks" in found:
        rows = [row | {"segmentation": run_lengths(mask)} for row, mask in zip(rows, found["masks"], strict=True)]
    if "keypoints" in found:
        points = found["keypoints"].flatten(1).tolist()
        rows = [row | {"keypoints": own} for row, own in zip(rows, points, strict=True)]
    return rows


def _name(sample: Mapping[str, Any]) -> str:
    """Return a name of an image that no other has: two folders can hold files of the same name."""
    identity = str(int(sample["image_id"]))
    return f"{identity}_{Path(sample['path']).stem[:NAME]}" if "path" in sample else identity
