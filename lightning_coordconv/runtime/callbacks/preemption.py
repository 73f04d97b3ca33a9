"""Callback that saves a checkpoint and exits with code 75 when SIGTERM or SIGUSR1 asks the process to stop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.distributed import Work

from lightning_coordconv.core import _lightning
from lightning_coordconv.core.transfers import LateRead, is_asynchronous
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint, is_at_end, is_within_epoch
from lightning_coordconv.runtime.distributed import destroy_process_group_at_exit
from lightning_coordconv.runtime.signals import REQUEUE, stop_signals


class Preemption(Callback):
    """On SIGTERM or SIGUSR1, finish the training step, write ``last.ckpt`` and exit with code 75.

    A validation that follows the step is finished too, because Lightning does not repeat it on resumption, and so is
    the epoch that ends with the step: Lightning logs its metrics last, and would not log them on resumption. Only a
    validation that asks :meth:`interrupts_validation` is given up, and repeated on resumption. The same command with
    ``--ckpt_path last`` and the same logger version resumes the run, within the epoch. The ranks of a distributed run
    leave together, one step after any of them received the signal: after every step they start an asynchronous
    reduction of a flag, and read its result after the next step, so that no rank waits. This callback replaces
    Lightning's handlers, which act in the middle of a step, and Lightning's broadcast before every step, which blocks.
    The sanity check, a validation, a test or a prediction outside of training has nothing to save, and ends at once
    with the same exit code.
    """

    def __init__(self) -> None:
        self.pending: Answer | None = None

    def interrupts_validation(self, trainer: Trainer) -> bool:
        """Tell a long validation within training whether to give up, by raising Lightning's ``SIGTERMException``.

        The last one of a run is finished: nothing would repeat it.
        """
        return stop_signals.received is not None and not is_at_end(trainer)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning."""
        stop_signals.install()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, and finish the validation."""
        stop_signals.install()
        _lightning.stop_after_step(trainer, False)
        # Lightning would count a validation that was given up twice, and repeat the one that follows too.
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning."""
        stop_signals.install()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning."""
        stop_signals.install()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From now on there is work to save before the process ends."""
        _lightning.skip_sigterm_broadcast(trainer)
        stop_signals.install()
        stop_signals.deferred = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the step, unless a validation may follow, or training ends."""
        if is_within_epoch(trainer, batch_idx):
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after a validation within an epoch."""
        training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if training and not trainer.is_last_batch and self._asked(trainer) and not is_at_end(trainer):
            self._save(trainer)  # before what Lightning does after a validation, and does again on resumption
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the epoch, or save the end of training, unless that is within the epoch and has been saved."""
        asked = self._stop_if_asked(trainer)
        if asked and is_at_end(trainer) and trainer.is_last_batch:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the test that follows training, of which the end has been saved."""
        if self._asked(trainer, last=True):
            self._leave(trainer)
        stop_signals.deferred = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the training where Lightning stops: its step or epoch is complete, or its validation given up."""
        if isinstance(exception, SIGTERMException) and stop_signals.deferred:
            self._save(trainer)
            self._announce(trainer)
            exception.code = REQUEUE

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget a reduction whose result nobody needs."""
        self.pending = None
        stop_signals.deferred = False

    def _stop_if_asked(self, trainer: Trainer) -> bool:
        """Let Lightning stop once it has completed what this hook belongs to, unless training ends with it."""
        asked = self._asked(trainer)
        _lightning.stop_after_step(trainer, asked and not is_at_end(trainer))
        return asked

    def _asked(self, trainer: Trainer, last: bool = False) -> bool:
        asked = stop_signals.received is not None
        return self._any_rank(asked, trainer.strategy.root_device, last) if trainer.world_size > 1 else asked

    def _save(self, trainer: Trainer) -> None:
        path = last_path(trainer)
        if path is not None:
            trainer.save_checkpoint(path, weights_only=False)

    def _leave(self, trainer: Trainer) -> None:
        self._announce(trainer)
        raise SystemExit(REQUEUE)

    def _announce(self, trainer: Trainer) -> None:
        """Say how the run continues, and let the process group end with the process."""
        path = last_path(trainer)
        how = (
            "no checkpoint is configured, nothing is saved"
            if path is None
            else f"--ckpt_path {path} continues this run"
        )
        rank_zero_info(f"preempted after step {trainer.global_step}: {how}")
        destroy_process_group_at_exit()

    def _any_rank(self, asked: bool, device: torch.device, last: bool) -> bool:
        """Start to ask whether any rank should stop; return the answer to the previous question, or the ``last``."""
        previous = self.pending
        flag = torch.full((), int(asked), dtype=torch.uint8, device=device)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)
        assert work is not None
        if is_asynchronous(flag):
            work.wait()  # lets the device's stream wait, not the host
            self.pending = Answer(None, LateRead(flag))
        else:
            self.pending = Answer(work, flag)
        if last:
            previous = self.pending
        return previous is not None and previous.value()


def last_path(trainer: Trainer) -> Path | None:
    """Return the path of ``last.ckpt``; ``None`` for a run that saves no checkpoints."""
    saving = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint) and each.dirpath]
    for callback in sorted(saving, key=lambda each: not isinstance(each, LastCheckpoint)):
        return Path(str(callback.dirpath), f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}")
    return None


@dataclass
class Answer:
    """The result of a reduction, which is on its way to the host."""

    work: Work | None
    flag: Tensor | LateRead

    def value(self) -> bool:
        """Wait for the result and return it."""
        if self.work is not None:
            self.work.wait()
        return bool(self.flag.value() if isinstance(self.flag, LateRead) else self.flag)


class CheckpointingPreemption(Preemption, Checkpoint):
    """:class:`Preemption` of a run that saves checkpoints: as a ``Checkpoint`` it acts after the other ones."""
