"""Callback that saves the gradients of an unfinished accumulation in checkpoints, and restores them."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer


class AccumulatedGradients(Callback):
    """Saves the gradients that wait for a step, with ``accumulate_grad_batches`` or by the task's own rule.

    Lightning saves and stops after any batch, without them: a run that resumes there would take a step with the
    gradients of the remaining batches only. A checkpoint between two steps holds as many gradients as weights. They are
    the mean over the ranks, which every rank restores: the step, which averages over ranks, is the same for any number
    of them, up to rounding.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Tensor] = {}
        self.waiting = False
        """Whether the last gradients were not followed by a step."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that gradients wait."""
        self.waiting = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note that they do no longer."""
        self.waiting = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``accumulated_gradients`` by the name of the parameter, if some wait."""
        if self.waiting:
            checkpoint["accumulated_gradients"] = {
                name: trainer.strategy.reduce(parameter.grad.clone(), reduce_op="mean").cpu()
                for name, parameter in pl_module.named_parameters()
                if parameter.grad is not None
            }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the gradients until training starts."""
        self.restored = checkpoint.get("accumulated_gradients", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the gradients. Lightning sets gradients to zero before the first batch of its accumulation only."""
        for name, parameter in pl_module.named_parameters():
            if name in self.restored:
                parameter.grad = self.restored[name].to(parameter.device)
        self.waiting, self.restored = bool(self.restored), {}
