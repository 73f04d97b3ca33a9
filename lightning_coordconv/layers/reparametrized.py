"""Functions that copy modules with parametrized, pruned or normalised weights, and make such weights permanent."""

import copy
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from lightning_coordconv.layers._torch import ConvNd

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copy_module(module: ModuleT) -> ModuleT:
    """Return a deep copy of a module, which torch's own copy refuses after pruning and normalisation.

    Their functions keep the weight as the result of an operation, as an attribute. The copy holds its present value.
    """
    kept = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in kept if not value.is_leaf})


def make_weights_permanent(layer: ConvNd) -> None:
    """Replace parametrized, pruned and normalised tensors of a layer by their present values, in place."""
    if parametrize.is_parametrized(layer):
        # Not torch's remove_parametrizations, which changes the class that a copy shares with the original layer.
        values = {name: getattr(layer, name).detach().clone() for name in layer.parametrizations}  # type: ignore[union-attr]
        del layer.parametrizations
        layer.__class__ = type(layer).__bases__[0]
        for name, value in values.items():
            layer.register_parameter(name, nn.Parameter(value))
    tensors = {name for name, _ in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]}
    for name in ("weight", "coord_weight", "bias"):
        if f"{name}_g" in tensors:
            remove_weight_norm(layer, name)
        elif f"{name}_u" in tensors:
            remove_spectral_norm(layer, name)
        elif f"{name}_mask" in tensors:
            prune.remove(layer, name)
