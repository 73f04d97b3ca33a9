"""The task of finding one point in a picture: trains and evaluates a network that predicts its position."""

from typing import ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.coordinates.metrics import PixelDistance
from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import Batch, Outputs


class PointRegression(NetworkTask):
    """Predicts the position (x, y) of one point in each picture.

    The loss is the mean squared error of (x, y) in units of the picture's width and height. Metric: ``distance``, the
    mean Euclidean distance in pixels of the file (lower is better).

    Args:
        net: maps images (B, 3, H, W) to positions (B, 2) in units of the picture, [0, 1].
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: in a step, if the network does not return two numbers for each picture.
    """

    sample_keys: frozenset[str] = frozenset({"image", "xy", "size"})
    monitor: str = "val/distance"
    half_outputs: ClassVar[bool] = False
    half_weights: ClassVar[bool] = False  # Lightning rounds positions too then, by up to 8 of 2,000 pixels

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        metrics: dict[str, Metric] = {"distance": PixelDistance()}
        super().__init__(
            net, metrics, optimizer, lr_scheduler, lr_scheduler_interval, compile=compile, channels_last=channels_last
        )

    def figures(self) -> list[Callback]:
        """Return the table of predictions."""
        return [PredictionTable()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, and the predicted and the true positions ``preds`` and ``target`` (B, 2) in pixels."""
        predicted = in_full_precision(self.net(batch["image"]))
        if predicted.shape != batch["xy"].shape:
            raise ValueError(
                f"the network must return (x, y) for each picture, {tuple(batch['xy'].shape)}, "
                f"got {tuple(predicted.shape)}"
            )
        # 0 is the middle of the first pixel, and half a pixel from the edge of the picture
        target = (batch["xy"] + 0.5) / batch["size"]
        return {
            "loss": F.mse_loss(predicted, target),
            "preds": predicted.detach() * batch["size"] - 0.5,
            "target": batch["xy"],
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return the columns (B,) of a table: the file and the predicted position.

        With the samples' ``xy``, if they have it: also the true position, and the distance of the two.
        """
        if "xy" not in batch:
            x, y = (in_full_precision(self.net(batch["image"])) * batch["size"] - 0.5).unbind(1)
            return {"path": batch["path"], "predicted_x": x, "predicted_y": y}
        outputs = self.evaluate(batch)
        (x, y), (predicted_x, predicted_y) = outputs["target"].unbind(1), outputs["preds"].unbind(1)
        distance = (outputs["preds"] - outputs["target"]).norm(dim=1)
        return {
            "path": batch["path"], "x": x, "y": y,
            "predicted_x": predicted_x, "predicted_y": predicted_y, "distance": distance,
        }  # fmt: skip
