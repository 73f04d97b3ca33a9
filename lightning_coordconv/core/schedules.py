"""Class of a learning-rate scheduler, linear warm-up then cosine decay to zero, and the function that builds it."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_coordconv.core.checkpoints import CheckpointError


class WarmupCosine(LambdaLR):
    """The schedule of :func:`warmup_cosine`, which refuses the state of another one."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            CheckpointError: if it is that of another schedule, such as the one of an earlier release.
        """
        if "lr_lambdas" not in state_dict:
            raise CheckpointError(
                "the learning rates of the checkpoint follow another schedule, as of an earlier release, which "
                "cannot be continued: begin a new run; in Python, load(FILE).task.train() is a task with its weights"
            )
        super().load_state_dict(state_dict)


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> LambdaLR:
    """Build a schedule that raises learning rates linearly to the optimiser's, then lowers them along a cosine to 0.

    It moves once a step. Each parameter group keeps its own rate, where torch's ``OneCycleLR`` gives all groups the
    same. The numbers of steps are no part of its state: a run that resumes with another length has the rates of that
    length from then on.

    Args:
        optimizer: whose rates are scheduled.
        total_steps: number of steps after which the rates are 0; for a run of Lightning,
            ``trainer.estimated_stepping_batches``.
        warmup_steps: number of steps in which the rates rise.

    Raises:
        ValueError: unless 0 <= ``warmup_steps`` < ``total_steps``.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"expected 0 <= warmup_steps < total_steps, got {warmup_steps} and {total_steps}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        share = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
        return (1 + math.cos(math.pi * share)) / 2

    return WarmupCosine(optimizer, factor)
