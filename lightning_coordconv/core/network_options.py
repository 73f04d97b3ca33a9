"""Options of every task that change how its networks run, but neither what they compute nor what is saved."""

import torch
from torch import nn


def apply_network_options(network: nn.Module, compile: bool, channels_last: bool) -> None:
    """Compile a network, and set the memory format of its weights, in place.

    Both keep the names of the weights, so checkpoints of runs with and without these options are interchangeable. The
    results agree to rounding.

    Args:
        network: its own method ``compile`` is called, which can leave out parts that a compiler does not accept.
        compile: whether ``torch.compile`` compiles the network, at its first call and again for other shapes or modes.
        channels_last: whether weights of four dimensions get the memory format ``torch.channels_last``, which tensor
            cores and some CPUs convolve faster. If false, each weight keeps the format that the network chose.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compile:
        network.compile()
