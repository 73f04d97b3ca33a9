"""Task of the position benchmark that locates the red object of Sort-of-CLEVR images; function that makes its data."""

import torch
from torch import Generator, Tensor

from benchmarks.position.data import Tensors
from benchmarks.position.task import ScoredTask
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.task import Batch
from lightning_coordconv.generative import SortOfClevr

COUNTS = {"train": 2400, "val": 200, "test": 400, "predict": 400}
KEYPOINT_CANVAS = 48


def keypoints(split: Split, generator: Generator) -> Tensors:
    """Return two-object Sort-of-CLEVR with the place of the red object, ``xy_scaled``: -1 to 1 spans the image."""
    seed = int(torch.randint(2**31, (), generator=generator))
    data = SortOfClevr("train", COUNTS[split], KEYPOINT_CANVAS, 6, seed=seed)
    red = data.centres[:, 1]
    return {"image": data.images.float() / 127.5 - 1, "xy_scaled": (red + 0.5) / KEYPOINT_CANVAS * 2 - 1}


class KeypointTask(ScoredTask):
    """Predicts the place of an object."""

    unit = "error in pixels"

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the squared error of the place, and its distance from the true one in pixels."""
        difference = self.net(batch["image"]) - batch["xy_scaled"]
        return difference.square().mean(), difference.norm(dim=1) * KEYPOINT_CANVAS / 2
