"""Callback that stops a run whose loss or weights are infinite or NaN, and names the step."""

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from lightning_coordconv.core.protocols import TaskOfCallbacks
from lightning_coordconv.core.transfers import LateRead, is_asynchronous


@dataclass
class Checked:
    """A loss that is being checked, and where it comes from."""

    loss: LateRead
    step: int
    epoch: int
    network: str | None


class StopAtNonFinite(Callback):
    """Raises as soon as a loss is known to be infinite or NaN.

    On the CPU that is before its gradients are computed: the weights and the optimiser are those of the last good step.
    On CUDA the host does not wait for the loss but reads it one step later, so the weights in memory have been
    updated once or twice with its gradients. No checkpoint, validation or test sees those weights: every loss is read
    before. A finite loss can have gradients that are not: the weights are checked before a validation, a checkpoint and
    the test.
    In all cases the checkpoints written so far are good, and the run can be resumed from them with, for
    example, a lower learning rate.

    Raises:
        FloatingPointError: naming the step, the loss, the network that it belongs to if there are several, and the
            parameters and buffers that hold infinite values or NaN.
    """

    def __init__(self) -> None:
        self.pending: list[Checked] = []
        self.earlier: list[Checked] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Read the losses of the step before the last one."""
        self._read(pl_module, self.earlier)
        self.earlier, self.pending = self.pending, []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Start to read the loss."""
        network = pl_module.updated if isinstance(pl_module, TaskOfCallbacks) else None
        self.pending.append(Checked(LateRead(loss), trainer.global_step, trainer.current_epoch, network))
        if not is_asynchronous(loss):
            self._read_all(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read all losses, and check the weights, before these are used."""
        self._read_all(pl_module)
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            _check_weights(pl_module, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read all losses, and check the weights, before these are used."""
        self._read_all(pl_module)
        _check_weights(pl_module, trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read all losses, and check the weights, before these are saved."""
        self._read_all(pl_module)
        _check_weights(pl_module, trainer.global_step)

    def _read_all(self, pl_module: LightningModule) -> None:
        checked, self.earlier, self.pending = [*self.earlier, *self.pending], [], []
        self._read(pl_module, checked)

    def _read(self, pl_module: LightningModule, checked: list[Checked]) -> None:
        for entry in checked:
            loss = entry.loss.value()
            if not torch.isfinite(loss).all():
                state = [*pl_module.named_parameters(), *pl_module.named_buffers()]
                broken = [name for name, value in state if value.is_floating_point() and not value.isfinite().all()]
                where = f"; not finite themselves: {', '.join(broken)}" if broken else "; all weights are still finite"
                owner = type(pl_module).__name__
                whose = f"the {entry.network} of {owner}" if entry.network else owner
                raise FloatingPointError(
                    f"the loss of {whose} is {loss.float().mean().item()} at step {entry.step} "
                    f"(epoch {entry.epoch}){where}"
                )


def _check_weights(module: LightningModule, steps: int) -> None:
    broken = [name for name, weight in module.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise FloatingPointError(
            f"weights of {type(module).__name__} are infinite or NaN after {steps} steps, though its losses were "
            f"finite: {', '.join(broken)}"
        )
