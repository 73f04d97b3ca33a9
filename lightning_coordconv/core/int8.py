"""Base class of predictors that export INT8 and measure the loss, and class of the metrics in float32 and in INT8."""

import copy
import itertools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.export import (
    Exportable,
    ExportError,
    Format,
    Run,
    check_sizes,
    explained,
    export,
    isolated,
    open_exported,
    to_program,
)
from lightning_coordconv.core.predictor import ImagePredictor, ResultT, Size, TaskT
from lightning_coordconv.core.protocols import check_samples
from lightning_coordconv.core.sources import Images
from lightning_coordconv.core.training_data import compare

CALIBRATION_BATCHES = 10
"""Number of training batches in which the ranges of activations are observed."""


@dataclass(frozen=True)
class Int8Accuracy:
    """The metrics of a network and of its INT8 file on the validation data.

    Attributes:
        float32: metrics of the network, by name.
        int8: metrics of the file, by name.
        difference: the largest difference between outputs of the file and of the quantised network in torch, as a share
            of the largest value.
    """

    float32: dict[str, float]
    int8: dict[str, float]
    difference: float

    def __str__(self) -> str:
        rows = [f"{'':20}{'float32':>9}{'INT8':>9}{'difference':>12}"]
        for name, before in self.float32.items():
            rows.append(f"{name:20}{before:9.4f}{self.int8[name]:9.4f}{self.int8[name] - before:+12.4f}")
        return "\n".join(rows)


class Int8Predictor(ImagePredictor[TaskT, ResultT], Generic[TaskT, ResultT]):
    """A trained task that can be exported in INT8, because its metrics compare outputs of the network with labels."""

    @abstractmethod
    def labelled(self, batch: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images of a batch, (B, C, H, W), and their labels, without padding."""

    @abstractmethod
    def decide(self, output: Tensor) -> Tensor:
        """Return what the metrics of the task compare with labels, of an output of the exported network."""

    @torch.no_grad()
    @isolated
    def export_int8(
        self,
        path: str | Path,
        data: BaseDataModule,
        size: Size | None = None,
        format: Format | None = None,
        images: Images | None = None,
    ) -> Int8Accuracy:
        """Write the network in INT8, and measure the network and the file on the validation data.

        Weights and inputs of convolutions and linear layers become integers; the coordinate bias stays in float32. The
        ranges of the inputs are those of the first ten training batches.

        Args:
            path: see :meth:`~lightning_coordconv.core.Predictor.export` for this and the following arguments.
            data: the data that the network was trained on.
            size: height and width of the images, which must be those of the data.
            format: ``"onnx"`` or ``"torch"``; by default that of the suffix.
            images: on which the outputs are compared.

        Raises:
            ExportError: if the network cannot be exported in this way, or the data have images of another size.
            OSError: if the file cannot be written.
            ValueError: if the size is not two positive integers, or the data are of another task.
            ModuleNotFoundError: if torchao, onnxruntime or the exporter is not installed.
        """
        path = Path(path)
        chosen = self.choose(path, size, format)
        check_samples(self.task, data)
        from lightning_coordconv.core.quantiser import quantise  # needs torchao

        compare(data, self.task)
        network = self.exportable(size, images)
        if chosen == "onnx":  # here, because the quantised network itself refuses other sizes
            with explained("the exporter cannot export this network"):
                check_sizes(network, to_program(network))
        batches = itertools.islice(data.train_dataloader(), CALIBRATION_BATCHES)
        quantised = quantise(network, (image for batch in batches for image, _ in self._samples(batch, network)))
        float32 = self._measure(lambda values: [network.module(*values)], network, data)
        difference = export(quantised, path, chosen)
        int8 = self._measure(open_exported(path, chosen, network.inputs), network, data)
        return Int8Accuracy(float32, int8, difference)

    def _measure(self, run: Run, network: Exportable, data: BaseDataModule) -> dict[str, float]:
        metrics = cast(MetricCollection, copy.deepcopy(self.task.val_metrics)).cpu()
        metrics.reset()
        for batch in data.val_dataloader():
            for image, label in self._samples(batch, network):
                with explained("the exported network does not take an image of the validation data"):
                    (output,) = run((image,))
                metrics.update(self.decide(output), label)
        return {name: float(value) for name, value in metrics.compute().items()}

    def _samples(self, batch: Any, network: Exportable) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images as the file takes them, and their labels."""
        expected = network.examples[0][0].shape[-2:]
        for image, label in self.labelled(batch):
            if 2 not in network.axes and image.shape[-2:] != expected:
                sizes = [" x ".join(map(str, shape)) for shape in (image.shape[-2:], expected)]
                raise ExportError(f"the data have an image of {sizes[0]} pixels, but the file is made for {sizes[1]}")
            yield self.preprocessing.denormalise(image), label
