"""Runs a network in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
