"""Learning rate schedules that torch does not have in one piece."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """From zero linearly to the optimiser's learning rates, then along half a cosine back to zero; a step at a time.

    Each parameter group keeps its own rate, where torch's ``OneCycleLR`` gives all of them the same.

    Args:
        optimizer: whose rates are scheduled.
        total_steps: after which the rates are zero.
        warmup_steps: in which they rise.

    Raises:
        ValueError: unless 0 <= ``warmup_steps`` < ``total_steps``.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"expected 0 <= warmup_steps < total_steps, got {warmup_steps} and {total_steps}")
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Return what the rates are multiplied by at a step, from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
