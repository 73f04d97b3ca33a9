"""LightningModule that classifies noisy 1-D signals by the time of a pulse, and functions that generate the signals."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.position.data import Tensors
from benchmarks.position.task import ScoredTask
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.task import Batch

TIMES, MARGIN = 128, 20
"""Samples of a signal, and of its ends where no event is: further than a unit of the last layer sees."""
COUNTS = {"train": 4000, "val": 300, "test": 500, "predict": 500}


def events(split: Split, generator: Generator) -> Tensors:
    """Return noisy signals (1, 128) with one pulse, whose class is the third of the window that the pulse is in.

    The pulse is a triangle of 9 samples, upwards or downwards. Besides the signal ``image`` and its ``label`` a sample
    has ``left``, the pulse's time.
    """
    count = COUNTS[split]
    inner = TIMES - 2 * MARGIN
    time = MARGIN + torch.randint(inner, (count,), generator=generator)
    label = (time - MARGIN) * 3 // inner
    sign = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    pulse = (1 - (torch.arange(TIMES) - time[:, None]).abs() / 5).clamp(min=0) * sign
    signal = pulse + 0.1 * torch.randn(count, TIMES, generator=generator)
    return {"image": signal[:, None], "label": label, "left": time}


def events_as_rows(split: Split, generator: Generator) -> Tensors:
    """Return the signals of :func:`events` as images of one row, (1, 1, 128), which ``advise`` reads."""
    samples = events(split, generator)
    return {**samples, "image": samples["image"][:, :, None], "top": torch.zeros_like(samples["left"])}


class SignalTask(ScoredTask):
    """Predicts the class of a signal."""

    mode = "max"
    unit = "accuracy"

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of the class, and whether it is found."""
        logits: Tensor = self.net(batch["image"])
        return F.cross_entropy(logits, batch["label"]), (logits.argmax(1) == batch["label"]).float()
