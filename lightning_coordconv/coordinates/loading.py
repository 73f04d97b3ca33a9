"""Function that loads a trained model from a checkpoint of a coordinate task, or of finding a point in a picture."""

from pathlib import Path
from typing import Any

import torch

from lightning_coordconv.coordinates.point_predictor import PointPredictor
from lightning_coordconv.coordinates.point_task import PointRegression
from lightning_coordconv.coordinates.predictor import CoordinatePredictor
from lightning_coordconv.core.restore import load_task


def load(
    path: str | Path, device: str | torch.device = "auto", trust: bool = False, **arguments: Any
) -> CoordinatePredictor | PointPredictor:
    """Load a trained model from a checkpoint, which is enough: its data and configuration are not needed.

    Returns:
        A model that predicts points of pictures, or one of a coordinate task, as the checkpoint says.

    Args:
        path: see :meth:`~lightning_coordconv.core.Predictor.load` for the arguments and the errors.
        device: ``"auto"`` for an accelerator if there is one, or a device of torch, such as ``"cpu"``.
        trust: build whatever the checkpoint names, which can run code.
        **arguments: of the task, in place of those in the checkpoint.
    """
    task: Any = load_task(path, (*CoordinatePredictor.kinds, *PointPredictor.kinds), trust, arguments)
    return PointPredictor(task, device) if isinstance(task, PointRegression) else CoordinatePredictor(task, device)
