"""Context managers that put a network in evaluation mode, or a task in the mode for predictions, and restore it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lightning_coordconv.core.undefined import defined_outputs


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
    :func:`~lightning_coordconv.core.undefined.defined_outputs`.
    """
    with torch.inference_mode(), evaluating(task), defined_outputs(task):
        yield
