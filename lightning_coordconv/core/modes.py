"""Context managers of evaluation and prediction (no gradients or NaN), and checks that a task can be trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import nn

from lightning_coordconv.core.undefined import defined_outputs

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
MODAL = (*NORMS, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Layers that compute something else in evaluation mode."""


def warn_of_evaluation_mode(task: nn.Module) -> None:
    """Warn of a network of a task that is to be trained and is in evaluation mode, in which Lightning leaves it."""
    for name, network in task.named_children():
        trains = not network.training and any(parameter.requires_grad for parameter in network.parameters())
        if trains and any(isinstance(module, MODAL) for module in network.modules()):
            rank_zero_warn(
                f"{name} is in evaluation mode and will be trained in it, without dropout and with the statistics "
                "of its batch norms as they are: unless that is meant, call train() on the task first"
            )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Return a context in which a network is in evaluation mode; afterwards each module has the mode it had.

    Modules can differ in their modes: frozen batch norms stay in evaluation mode while the rest trains.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def predicting(task: nn.Module) -> Iterator[None]:
    """Return a context in which a task makes predictions, also one that was trained further since it was loaded.

    It is in evaluation mode, without gradients, and its networks raise an error where they return NaN or infinity; see
    :func:`~lightning_coordconv.core.undefined.defined_outputs`. It is not in inference mode, whose tensors no other
    network with weights can take.
    """
    with torch.no_grad(), evaluating(task), defined_outputs(task):
        yield


def check_trainable(task: nn.Module) -> None:
    """Refuse a fit in which no weight would change.

    Raises:
        ValueError: if there are weights, and none requires a gradient.
    """
    required = [weight.requires_grad for weight in task.parameters()]
    if required and not any(required):
        raise ValueError(
            f"all weights of {type(task).__name__} are frozen, as load() freezes those of a model: to train them "
            f"further, use {type(task).__name__}.load_from_checkpoint(...), or requires_grad_()"
        )
