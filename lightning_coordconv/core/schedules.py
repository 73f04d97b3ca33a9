"""Learning-rate schedule over the steps of a run: linear warm-up, then cosine decay to zero."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> LRScheduler:
    """Build a schedule that raises learning rates linearly to the optimiser's, then lowers them along a cosine to 0.

    It moves once a step. Each parameter group keeps its own rate, where torch's ``OneCycleLR`` gives all groups the
    same.

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
    cosine = CosineAnnealingLR(optimizer, T_max=total_steps - warmup_steps)
    if warmup_steps == 0:
        return cosine
    linear = LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)
    return SequentialLR(optimizer, [linear, cosine], milestones=[warmup_steps])
