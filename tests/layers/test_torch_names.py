"""Tests that the private names of torch that the layers need exist, and that only one module uses such names."""

import ast
import importlib
import pathlib

import pytest
from torch import nn

from lightning_coordconv.layers import _torch

FOLDER = pathlib.Path(_torch.__file__).parent


def resolve(path):
    module, names = path, []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
    for name in names:
        found = getattr(found, name, None)
    return found


@pytest.mark.parametrize(("name", "use"), _torch.REQUIRED.items())
def test_the_name_exists(name, use):
    assert resolve(name) is not None, f"this version of torch has no {name}, which layers/_torch.py needs for: {use}"


def test_the_attribute_exists():
    layer = nn.Conv2d(1, 1, (3, 5), padding=(1, 2), padding_mode="circular")
    assert hasattr(layer, "_reversed_padding_repeated_twice"), (
        "this version of torch has no _reversed_padding_repeated_twice, which layers/_torch.py needs for: "
        "the padding of convolutions whose padding mode is not zeros"
    )
    assert _torch.padding_of_other_modes(layer) == (2, 2, 1, 1)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_no_other_module_uses_one(path):
    if path.name == "_torch.py":
        return
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("lightning_coordconv"):
            used += [alias.name for alias in node.names if alias.name.startswith("_")]
            used += [part for part in (node.module or "").split(".") if part.startswith("_") and part != "__future__"]
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            used.append(node.attr)
    assert not set(used) - own
