"""Functions that keep tensors which are no part of a network's weights, such as random features, in checkpoints."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric

TENSORS = "tensors"
"""Key of a checkpoint: the tensors of its networks that the weights do not hold, by name."""

ORIGINALS = ("_orig", "_g")
"""Ends of the names of parameters from which torch's pruning, spectral norm and weight norm compute a tensor."""


class Held(NamedTuple):
    """A tensor that is an attribute of a module of a task, or a buffer."""

    name: str
    owner: nn.Module
    attribute: str
    value: Tensor


def tensors_of(task: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a task's networks that are no parameters, by name."""
    return {held.name: held.value.detach() for held in _held(task)}


def put_back(task: nn.Module, checkpoint: Mapping[str, Any], given: Collection[str]) -> None:
    """Give the networks of a task that was built from a checkpoint the tensors that its weights do not hold.

    Args:
        task: that has the networks.
        checkpoint: its content.
        given: names of networks that were not built from the checkpoint, which stay as they are.
    """
    for other in _find_others(task, checkpoint):
        if other.name.partition(".")[0] not in given:
            setattr(other.owner, other.attribute, other.value)


def warn_of_others(task: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Warn of networks that compute something else with the weights of a checkpoint, because of other tensors."""
    names = [other.name for other in _find_others(task, checkpoint)]
    if names:
        rank_zero_warn(
            f"The networks have other tensors than those that were trained: {', '.join(names)}. The weights do not "
            "hold them: make them persistent buffers (register_buffer), or build them as in the training."
        )


def _find_others(task: nn.Module, checkpoint: Mapping[str, Any]) -> Iterator[Held]:
    """Yield tensors of a checkpoint where those of the task, of the same shape, differ by more than rounding."""
    saved = checkpoint.get(TENSORS)
    for held in _held(task):
        value = saved.get(held.name) if isinstance(saved, Mapping) else None
        if isinstance(value, Tensor) and value.shape == held.value.shape:
            value = value.to(held.value)
            if not torch.allclose(value, held.value, rtol=0.01, equal_nan=True):
                yield Held(held.name, held.owner, held.attribute, value)


def _held(task: nn.Module) -> Iterator[Held]:
    """Yield the tensors of a task's networks that are no parameters; those computed from parameters do not count."""
    for prefix, module in task.named_modules():
        if prefix and not isinstance(module, Metric):
            for attribute, value in [*module.named_buffers(recurse=False), *vars(module).items()]:
                computed = any(hasattr(module, attribute + ending) for ending in ORIGINALS)
                if isinstance(value, Tensor) and not computed:
                    yield Held(f"{prefix}.{attribute}", module, attribute, value)
