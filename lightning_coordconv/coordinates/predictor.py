"""Classes of a coordinate task's trained network, to load, use in Python and export, and of predictions, to draw."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_coordconv.coordinates.dataset import NotSoClevr
from lightning_coordconv.coordinates.figures import draw_pairs, draw_positions
from lightning_coordconv.coordinates.task import (
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
    CoordinateTask,
)
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.export import Exportable, ExportError
from lightning_coordconv.core.modes import predicting
from lightning_coordconv.core.predictor import Predictor, Result, Size
from lightning_coordconv.core.prepared_network import PreparedNetwork
from lightning_coordconv.core.sources import Images

SHOWN = 6
"""Largest number of predicted images that are drawn; of more predictions the positions are drawn."""
CHUNK = 64
"""Number of positions predicted at a time."""


@dataclass(frozen=True, repr=False)
class CoordinatePredictions(Result):
    """What a network predicts for N positions, on the CPU.

    Attributes:
        xy: the positions (N, 2) in pixels, int64; x counts columns, y counts rows.
        held_out: whether each belongs to the test part of the data that the network was trained on (N,), bool.
        correct: whether each prediction is right (N,), bool: the pixel, or the position within half a pixel, or every
            pixel of the square.
        predicted: the predicted positions (N, 2) in pixels; ``None`` of a network that renders squares.
        images: the probability of each pixel (N, H, W), in [0, 1]; ``None`` of a network that predicts no image.
        targets: the images that are right (N, H, W); ``None`` likewise.
    """

    xy: Tensor
    held_out: Tensor
    correct: Tensor
    predicted: Tensor | None
    images: Tensor | None
    targets: Tensor | None

    def __len__(self) -> int:
        return len(self.xy)

    def __repr__(self) -> str:
        parts = {"held-out": self.held_out, "training": ~self.held_out}
        counts = [
            f"{int(self.correct[part].sum())} of {int(part.sum())} {name}" for name, part in parts.items() if part.any()
        ]
        return f"correct: {', '.join(counts)} positions"

    def draw(self) -> Figure:
        """Draw the right and the predicted images of few positions; of more, at which positions the network is right.

        Of a network that predicts no image, positions are drawn.
        """
        if self.images is not None and self.targets is not None and len(self) <= SHOWN:
            return draw_pairs(list(torch.stack([self.targets, self.images], dim=1)))
        parts = {"test": self.held_out, "train": ~self.held_out}
        x, y = self.xy.unbind(1)
        columns = {"x": x, "y": y, "correct": self.correct}
        return draw_positions(
            [{part: {name: column[chosen] for name, column in columns.items()} for part, chosen in parts.items()}]
        )


class CoordinatePredictor(Predictor[CoordinateTask]):
    """A trained network of a coordinate task; see :meth:`load`.

    Args:
        task: a trained task.
        device: see :class:`~lightning_coordconv.core.Predictor`.

    Raises:
        CheckpointError: if the checkpoint describes its canvas, but wrongly.
    """

    kinds = (CoordinateClassification, CoordinateRegression, CoordinateRendering)

    def __init__(self, task: CoordinateTask, device: str | torch.device = "auto") -> None:
        super().__init__(task, device)
        self.positions = _positions(task.describe_data())

    def predict(self, positions: Sequence[Sequence[int]] | Tensor | None = None) -> CoordinatePredictions:
        """Return what the network predicts for positions of the square, each independent of the others.

        A network of classification or rendering reads the position; one of regression reads the image that is black
        except for this pixel.

        Args:
            positions: N pairs (x, y) of integers, in pixels, such as ``[(20, 10)]``; by default all that the data have.
                The square fits on the canvas, so positions are ``size // 2`` pixels away from its border.

        Raises:
            ValueError: for anything but pairs of integers, and a position that the data do not have.
        """
        known = self.positions.xy
        xy = known if positions is None else _pairs(positions)
        found = (xy[:, None] == known).all(-1)
        if not found.any(1).all():
            low, high = int(known.min()), int(known.max())
            first = tuple(xy[~found.any(1)][0].tolist())
            raise ValueError(f"x and y of a position must be between {low} and {high}, got {first}")
        numbers = found.int().argmax(1)
        parts = [self._predict(chunk.tolist()) for chunk in numbers.split(CHUNK)]
        predicted, images, targets = (_joined(column) for column in zip(*(part[1] for part in parts), strict=True))
        correct = torch.cat([part[0] for part in parts])
        return CoordinatePredictions(xy, self.positions.held_out[numbers], correct, predicted, images, targets)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the network in the form in which it is exported.

        Classification and rendering map ``xy``, positions (B, 2) as the network reads them, to the ``probability`` of
        each pixel (B, H, W). Regression maps an ``image`` (B, 1, H, W) to the position ``xy`` (B, 2) in pixels.
        The metadata have the side of the ``canvas`` in pixels, and the unit of the positions that a network reads,
        ``coordinates``: ``"scaled"`` to [-1, 1], or ``"pixels"``.
        """
        canvas = self.positions.canvas
        if images is not None:
            raise ExportError("the network is checked on positions: leave out --images")
        if size not in (None, (canvas, canvas)):
            raise ExportError(f"the network is made for a canvas of {canvas} x {canvas} pixels, and no other: {size}")
        regression = isinstance(self.task, CoordinateRegression)
        key, output = ("onehot", "xy") if regression else ("xy_scaled", "probability")
        module = PreparedNetwork(copy.deepcopy(self.task.net).cpu(), nn.Identity(), self._finish)
        examples = tuple((self.positions.__getitems__(numbers)[key],) for numbers in ([0, 1], [2], [0, 1, 2]))
        metadata = {"canvas": canvas} | ({} if regression else {"coordinates": self.positions.coordinates})
        return Exportable(module, examples, ("image" if regression else "xy",), (output,), {0: "batch"}, metadata)

    def _finish(self, output: Any) -> Tensor:
        if isinstance(self.task, CoordinateRegression):
            return output * self.positions.canvas
        if isinstance(self.task, CoordinateRendering):
            return (output[0] if isinstance(output, tuple) else output).sigmoid()
        return output.flatten(1).softmax(1).view_as(output)

    def _predict(self, numbers: list[int]) -> tuple[Tensor, tuple[Tensor | None, Tensor | None, Tensor | None]]:
        """Return ``correct``, and ``predicted``, ``images`` and ``targets``, of some positions of the data."""
        batch = self.positions.__getitems__(numbers)
        with predicting(self.task):
            outputs = self.task.evaluate({name: value.to(self.device) for name, value in batch.items()})
            correct = self.task.prediction_columns(outputs)["correct"].cpu()
            pair = self.task.image_pair(batch, outputs)
        targets, images = (None, None) if pair is None else (pair[0].cpu(), pair[1].cpu())
        predicted = None if isinstance(self.task, CoordinateRendering) else outputs["preds"].cpu()
        return correct, (predicted, images, targets)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _pairs(positions: Sequence[Sequence[int]] | Tensor) -> Tensor:
    try:
        xy = torch.as_tensor(positions)
    except (TypeError, ValueError, RuntimeError):  # torch's of objects without a dtype
        xy = torch.empty(0)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or xy.is_floating_point() or xy.dtype == torch.bool:
        raise ValueError(f"positions must be pairs (x, y) of integers, as in [(20, 10)], got {positions!r:.100}")
    return xy.long().cpu()


def _positions(described: Mapping[str, Any]) -> NotSoClevr:
    """Return all positions of the data that a checkpoint describes; those of the paper where it does not."""
    given = described.get("positions", {})
    if not given:
        rank_zero_info(
            "The checkpoint does not describe its positions: a canvas of 64 pixels, scaled coordinates and the uniform "
            "partition are assumed."
        )
    try:
        return NotSoClevr("all", **given)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint describes no positions on a canvas: {error}") from error
