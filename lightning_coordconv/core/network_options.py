"""Functions that apply the task options ``compile`` and ``channels_last`` to a network, and look for a C++ compiler."""

import os
import shutil

import torch
from torch import nn

from lightning_coordconv.core.offline import is_restoring

COMPILERS = ((os.environ.get("CXX") or "g++").split()[0], "clang++", "c++")
"""Programs one of which ``torch.compile`` runs, for CPUs and for launching kernels of GPUs."""


def apply_network_options(network: nn.Module, compile: bool, channels_last: bool) -> None:
    """Compile a network, and set the memory format of its weights, in place.

    Both keep the names of the weights, so checkpoints of runs with and without these options are interchangeable. The
    results agree to rounding.

    Args:
        network: its own method ``compile`` is called, which can leave out parts that a compiler does not accept.
        compile: whether ``torch.compile`` compiles the network, at its first call and again for other shapes or modes.
        channels_last: whether weights of four dimensions get the memory format ``torch.channels_last``, which tensor
            cores and some CPUs convolve faster. If false, each weight keeps the format that the network chose.

    Raises:
        ValueError: if the network is to be compiled and there is no C++ compiler.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compile and can_compile():
        network.compile()


def can_compile() -> bool:
    """Return whether there is a C++ compiler, without which ``torch.compile`` fails at the first call.

    Raises:
        ValueError: if there is none, unless a checkpoint is being loaded: its network computes the same uncompiled.
    """
    found = any(map(shutil.which, COMPILERS))
    if not found and not is_restoring():
        raise ValueError(f"compile=True needs a C++ compiler ({', '.join(COMPILERS)}): install one, such as g++")
    return found
