"""Function that finds strides in a model that are no powers of two."""

import math

from torch import nn


def other_strides(model: nn.Module) -> dict[str, int]:
    """Return the strides of modules that are no powers of two, by name; their least common multiple over the axes."""
    found = {}
    for name, module in model.named_modules():
        stride = getattr(module, "stride", 1)
        numbers = stride if isinstance(stride, tuple) else (stride,)
        if all(isinstance(number, int) and number > 0 for number in numbers):
            common = math.lcm(*numbers)
            if common & (common - 1):
                found[name] = common
    return found
