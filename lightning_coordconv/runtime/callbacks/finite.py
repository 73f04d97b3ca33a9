"""A loss that is no number ends the run at once, by name."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


class StopAtNonFinite(Callback):
    """Raise as soon as a loss is infinite or not a number, before its gradients reach any weight.

    The weights, the optimiser and the checkpoints written so far are those of the last good step, so the run can go on
    from them with, say, a lower learning rate.

    Raises:
        FloatingPointError: naming the step, the loss, of several networks the one that it belongs to and, if there are
            any, the parameters and buffers that hold infinite values or NaN themselves.
    """

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look at the loss."""
        if torch.isfinite(loss).all():
            return
        state = [*pl_module.named_parameters(), *pl_module.named_buffers()]
        broken = [name for name, tensor in state if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
        where = f"; not finite themselves: {', '.join(broken)}" if broken else "; all weights are finite still"
        network = getattr(pl_module, "updated", None)
        whose = f"the {network} of {type(pl_module).__name__}" if network else type(pl_module).__name__
        raise FloatingPointError(
            f"the loss of {whose} is {loss.detach().float().mean().item()} at step "
            f"{trainer.global_step} (epoch {trainer.current_epoch}){where}"
        )
