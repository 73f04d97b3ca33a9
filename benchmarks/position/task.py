"""LightningModules of the position benchmark: two base classes, classification, segmentation and detection."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.position.arms import ARMS, ArmName, convert
from lightning_coordconv.classification import ImageClassification
from lightning_coordconv.core.metrics import SampleMean
from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import Batch, Outputs
from lightning_coordconv.detection import ObjectDetection
from lightning_coordconv.segmentation import SemanticSegmentation


class PositionTask(NetworkTask):
    """Base class of the tasks of the benchmark: trains one arm of a network.

    All arms train alike, by Adam, in one cycle of the learning rate over the steps of the run.

    Args:
        net: the plain network, whose convolutions pad with zeros.
        arm: what the network sees of position, see :data:`~benchmarks.position.arms.ARMS`.
        advised: names of the convolutions that ``advise`` names, which see coordinates in the arm ``advised``.
        lr: the highest learning rate.
        **options: of the base class that follows.

    Raises:
        ValueError: in a run without an end.
    """

    unit: ClassVar[str]
    """Of the metric that the task is judged by (``monitor``), for tables."""

    def __init__(
        self,
        net: nn.Module,
        arm: ArmName = "zero_padding",
        advised: Sequence[str] = (),
        lr: float = 0.003,
        **options: Any,
    ) -> None:
        super().__init__(convert(net, ARMS[arm], advised), optimizer=partial(torch.optim.Adam, lr=lr), **options)
        self.framed = ARMS[arm].framed

    def configure_optimizers(self) -> Any:
        """Build the optimiser, and its cycle unless the options name another schedule."""
        configured = super().configure_optimizers()
        if isinstance(configured, dict):
            return configured
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError("the cycle of the learning rate needs a run with an end: set trainer.max_steps")
        cycle = OneCycleLR(configured, [group["lr"] for group in configured.param_groups], total_steps=int(steps))
        return {"optimizer": configured, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class Classification(PositionTask, ImageClassification):
    """Classifies images, see :class:`~lightning_coordconv.classification.ImageClassification`."""

    unit = "accuracy"


class Segmentation(PositionTask, SemanticSegmentation):
    """Classifies pixels, see :class:`~lightning_coordconv.segmentation.SemanticSegmentation`."""

    unit = "mean IoU"


class Detection(PositionTask, ObjectDetection):
    """Detects objects, see :class:`~lightning_coordconv.detection.ObjectDetection`."""

    unit = "AP"


class Score(SampleMean):
    """Mean of a score that is computed for each sample."""

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the scores (B,)."""
        return preds


class ScoredTask(PositionTask):
    """Base class of tasks with a score for each sample; a subclass implements :meth:`score`.

    Args:
        net: see :class:`PositionTask` for this and the following.
        **options: of :class:`PositionTask`.
    """

    sample_keys: frozenset[str] = frozenset({"image", "path"})
    monitor: str = "val/score"

    def __init__(self, net: nn.Module, **options: Any) -> None:
        super().__init__(net, metrics={"score": Score()}, **options)

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and the score of each sample (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must implement score(batch)")

    def evaluate(self, batch: Batch) -> Outputs:
        """Return the loss, and the scores as predictions."""
        loss, scores = self.score(batch)
        return {"loss": loss, "preds": scores.detach(), "target": scores.detach()}

    def figures(self) -> list[Callback]:
        """Return the table of scores."""
        return [PredictionTable()]

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Return the columns of a table: number and score of each sample."""
        return {"path": batch["path"], "score": self.score(batch)[1]}
