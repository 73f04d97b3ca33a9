"""Linear warm-up then cosine decay to zero, and a function that builds any schedule and checks the groups' rates."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_coordconv.core.checkpoints import CheckpointError

ScheduleT = TypeVar("ScheduleT")


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
                "cannot be continued: begin a new run; in Python, load_from_checkpoint(FILE) has its weights"
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


def schedule_groups(optimizer: Optimizer, build: Callable[[Optimizer], ScheduleT]) -> ScheduleT:
    """Build the schedule of an optimiser, and check that parameter groups with different rates keep them.

    Args:
        optimizer: whose rates are scheduled.
        build: builds the schedule.

    Raises:
        ValueError: for a schedule that sets one rate for all groups, as ``OneCycleLR`` and ``CyclicLR`` do.
    """
    before = [group["lr"] for group in optimizer.param_groups]
    schedule = build(optimizer)
    after = {group["lr"] for group in optimizer.param_groups}
    if len(set(before)) > 1 and len(after) == 1 and after != {0.0}:
        rates = ", ".join(f"{rate:g}" for rate in before)
        raise ValueError(
            f"{type(schedule).__name__} would give all {len(before)} parameter groups one learning rate, but theirs "
            f"are {rates}: give it a list with a rate for each group, or choose another schedule"
        )
    return schedule
