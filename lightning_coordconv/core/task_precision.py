"""Base class of tasks that takes a trainer's precision: what it refuses, what keeps its dtype, and when it converts."""

from typing import Any, ClassVar, Self

from pytorch_lightning import LightningModule
from torchmetrics import Metric

from lightning_coordconv.core._lightning import is_attached, keeping_dtypes

HALF = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
"""Precisions of a trainer in which it rounds the weights, and all floating-point numbers of a batch."""
MIXED = ("16-mixed", "bf16-mixed")
"""Precisions of a trainer in which networks compute, and return, numbers of 11 or 8 bits."""


class TaskPrecision(LightningModule):
    """A LightningModule whose metrics are exact in any precision, and that refuses one that rounds what it needs."""

    half_weights: ClassVar[bool] = True
    """Whether the weights can be in half precision, as with ``--trainer.precision bf16-true``."""
    half_outputs: ClassVar[bool] = True
    """Whether what the networks return can be in half precision, as with ``--trainer.precision bf16-mixed``."""

    def check_precision(self, precision: object) -> None:
        """Refuse a precision that rounds what the task needs exactly.

        Args:
            precision: of the trainer, by Lightning's name, such as ``"bf16-true"``.

        Raises:
            ValueError: if it is one of :data:`HALF`, and ``half_weights`` is false, or one of :data:`MIXED`, and
                ``half_outputs`` is.
        """
        if precision in MIXED and not self.half_outputs:
            raise ValueError(
                f"trainer.precision must be 32-true or 64-true for {type(self).__name__}, whose network returns "
                f"positions: half precision rounds them to a share of 1/256 (bf16) or 1/2048, got {precision!r}"
            )
        if precision in HALF and not self.half_weights:
            raise ValueError(
                f"trainer.precision must keep the weights of {type(self).__name__} in full precision, as 32-true "
                f"does, got {precision!r}"
            )

    def setup(self, stage: str) -> None:
        """Check the precision, and take double precision before the trainer loads weights, which it does not."""
        if is_attached(self):
            self.check_precision(self.trainer.precision)
            if self.trainer.precision == "64-true":
                self.double()

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or convert the task; the states of its metrics keep their dtypes: counts in bfloat16 end at 256."""
        with keeping_dtypes(module for module in self.modules() if isinstance(module, Metric)):
            return super().to(*args, **kwargs)
