"""Functions that find strides in a model: those that are no powers of two, and a bound on the total one."""

import math

from torch import nn

LARGEST = 32
"""Total stride of most networks of images, such as ResNet, ConvNeXt and Swin; few have a greater one."""


def other_strides(model: nn.Module) -> dict[str, int]:
    """Return the strides of modules that are no powers of two, by name; their least common multiple over the axes."""
    found = {}
    for name, module in model.named_modules():
        common = _stride(module)
        if common & (common - 1):
            found[name] = common
    return found


def total_stride(model: nn.Module) -> int:
    """Return the product of all strides of a model, but at most 32: mostly its total stride, or more.

    It is the total stride in a sequence of modules, and more where branches have strides of their own. Transposed
    convolutions do not count.
    """
    product = math.prod(_stride(module) for module in model.modules() if not getattr(module, "transposed", False))
    return min(product, LARGEST)


def _stride(module: nn.Module) -> int:
    """Return the least common multiple of a module's strides over the axes; 1 if it has none."""
    stride = getattr(module, "stride", 1)
    numbers = stride if isinstance(stride, tuple) else (stride,)
    return math.lcm(*numbers) if all(isinstance(number, int) and number > 0 for number in numbers) else 1
