"""A run that is told to go leaves a checkpoint behind, and asks to be started again."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.distributed import Work

from lightning_coordconv.runtime.distributed import destroy_process_group_at_exit

REQUEUE = 75
"""The exit code of a run that was preempted: EX_TEMPFAIL of sysexits.h, "try again later"."""


class Preemption(Checkpoint):
    """On SIGTERM or SIGUSR1, finish the step, write ``last.ckpt`` and exit with the code :data:`REQUEUE`.

    A validation that follows the step is finished too: Lightning would not catch up on it. The same command with
    ``--ckpt_path last`` and the same logger version goes on from there, within the epoch. The ranks of a distributed
    run leave together, a step after one of them was told to: they ask each other after every step, and look at the
    answer after the next, so that none waits for it. Takes the place of Lightning's handlers, which act in the middle
    of a step, and of the question that its ranks ask the first before every step, and do wait for.
    """

    signals = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.handlers: dict[signal.Signals, Any] = {}
        self.asked: tuple[Work, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        self.handlers = {number: signal.signal(number, self._receive) for number in self.signals}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave, unless a validation may follow."""
        steps = batch_idx + 1 if trainer.check_val_every_n_epoch else trainer.fit_loop.total_batch_idx + 1
        if not trainer.is_last_batch and steps % (trainer.val_check_batch or 1):
            self._leave_if_told(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave after it."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._leave_if_told(trainer)

    def _leave_if_told(self, trainer: Trainer) -> None:
        told = self.received is not None
        if trainer.world_size > 1:
            told = self._ask(told, trainer.strategy.root_device)
        if not told:
            return
        checkpoints = trainer.checkpoint_callback
        if isinstance(checkpoints, ModelCheckpoint) and checkpoints.dirpath is not None:
            path = Path(checkpoints.dirpath, f"{checkpoints.CHECKPOINT_NAME_LAST}{checkpoints.FILE_EXTENSION}")
            trainer.save_checkpoint(path)
            rank_zero_info(f"preempted after step {trainer.global_step}: to go on, --ckpt_path last finds {path}")
        destroy_process_group_at_exit()
        raise SystemExit(REQUEUE)

    def _ask(self, told: bool, device: torch.device) -> bool:
        """Ask whether any rank was told to go, and return the answer to the question before."""
        before = self.asked
        flag = torch.tensor(told, dtype=torch.uint8, device=device)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)
        assert work is not None
        self.asked = work, flag
        if before is None:
            return False
        work, flag = before
        work.wait()
        return bool(flag)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back to whom they belonged."""
        self.asked = None
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
