"""Functions that find the sizes of inputs at which an exported program does not hold, and drop its conditions."""

import itertools
import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

LENGTHS = (1, 2, 3, 5, 10, 17, 33, 63, 100, 129, 201, 257, 300, 513, 636, 1025, 4097)
"""Lengths of axes at which conditions are evaluated: short, odd and long ones."""


def unmet_conditions(
    program: torch.export.ExportedProgram, example: tuple[Tensor, ...], axes: Mapping[int, str]
) -> dict[str, list[torch.Size]]:
    """Return conditions of a program, each with shapes of its first input that do not meet it, small ones first.

    A network whose Python code compares sizes, ``if height % 8``, is exported as it runs at the size of the example;
    the conditions say at which other sizes it runs in the same way. Nothing of the network is run here.

    Args:
        program: the program.
        example: its inputs.
        axes: which axes of the first input may have any length, by number and name.
    """
    module = program.module()
    checks = [module.get_submodule(str(node.target)) for node in _checks(module)]
    subsets = [chosen for count in range(len(axes)) for chosen in itertools.combinations(axes, count + 1)]
    first, *others = example
    shapes = [
        torch.Size(length if axis in chosen else known for axis, known in enumerate(first.shape))
        for length, chosen in itertools.product(LENGTHS, subsets)
    ]
    found: dict[str, list[torch.Size]] = {}
    for shape in sorted(shapes, key=math.prod):
        try:
            for check in checks:
                check(first.new_empty(shape, device="meta"), *others)
        except (AssertionError, ArithmeticError) as error:  # some divide by a size
            text = str(error).removeprefix("Guard failed: ")
            named = re.sub(r"\w+\.size\(\)\[(\d+)\]", lambda size: axes.get(int(size[1]), size[0]), text)
            found.setdefault(named, []).append(shape)
    return found


def without_conditions(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the module of a program that runs at any size, as ONNX keeps it, even where its conditions are not met."""
    module = program.module()
    for node in _checks(module):
        module.graph.erase_node(node)
    module.recompile()
    return module


def _checks(module: GraphModule) -> list[torch.fx.Node]:
    """Return the nodes that check conditions: the only ones of an exported program that call a module."""
    return [node for node in module.graph.nodes if node.op == "call_module"]
