"""Base class of tasks that refuses labels for which the network has no output, and a class of labels in CPU memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.task import Batch


@dataclass
class HostLabels:
    """The labels of a batch in the memory of the host.

    Attributes:
        values: by sample.
        lowest: the lowest label that counts; 0 if there is none.
        highest: the highest label, likewise.
        paths: of the samples, if they have any.
    """

    values: NDArray[Any] | Sequence[NDArray[Any]]
    lowest: int
    highest: int
    paths: Sequence[object] | None


class LabelledTask(NetworkTask):
    """A task whose network has one output for each class that a label can name.

    On an accelerator a label without an output ends in an assertion that names nothing, and looking at labels there
    makes the host wait. So the data module has them looked at while the batch is still on the host: 256 labels take 4
    microseconds. Not looked at are labels that are on an accelerator as a loader delivers them, and on accelerators
    those of loaders without a :class:`~lightning_coordconv.core.BaseDataModule`.
    """

    label_key: ClassVar[str] = "label"
    """Key of the labels in a batch: a tensor (B, ...), or a list of one tensor for each sample."""
    ignore_index: int | None = None
    """Label of what does not count."""
    host_labels: HostLabels | None = None
    """The labels of the batch that comes next."""

    def look_at(self, batch: Any) -> None:
        """Note the labels of a batch that is on the host; its data module calls this before the batch is moved.

        Raises:
            ValueError: if they are no integers.
        """
        labels: Any = batch.get(self.label_key) if isinstance(batch, Mapping) else None
        first = labels if isinstance(labels, Tensor) or not labels else labels[0]
        on_host = isinstance(first, Tensor) and first.device.type == "cpu"
        self.host_labels = _noted(labels, batch.get("path"), self.ignore_index) if on_host else None

    def check_labels(self, batch: Batch, num_classes: int, first: int = 0) -> None:
        """Check that all labels of the batch are from ``first`` to ``num_classes - 1``.

        Raises:
            ValueError: naming a sample, its label and the number of classes.
        """
        if self.host_labels is None:  # there is no data module; on a CPU the batch is on the host all the same
            self.look_at(batch)
        labels, self.host_labels = self.host_labels, None
        if labels is None or (first <= labels.lowest and labels.highest < num_classes):
            return
        for number, found in enumerate(labels.values):
            values = np.atleast_1d(found)
            wrong = values[(values < first) | (values >= num_classes)]
            wrong = wrong if self.ignore_index is None else wrong[wrong != self.ignore_index]
            if wrong.size:
                name = f"sample {number} of a batch" if labels.paths is None else labels.paths[number]
                allowed = f"{num_classes} classes" + (", with the background" if first else "")
                raise ValueError(
                    f"{name} has the label {wrong.flat[0]}, but the network has {allowed}: labels must be from {first} "
                    f"to {num_classes - 1}"
                )


def _noted(labels: Tensor | Sequence[Tensor], paths: Sequence[object] | None, ignore: int | None) -> HostLabels:
    values: Any = labels.numpy() if isinstance(labels, Tensor) else [each.numpy() for each in labels]
    whole = values if isinstance(labels, Tensor) else np.concatenate([each.ravel() for each in values])
    if whole.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {whole.dtype}")
    counted = whole if ignore is None else whole[whole != ignore]
    lowest, highest = (int(counted.min()), int(counted.max())) if counted.size else (0, 0)
    return HostLabels(values, lowest, highest, paths)
