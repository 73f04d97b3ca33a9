"""Tests that private names of other packages are used in the compatibility modules only."""

import ast
from functools import cache
from pathlib import Path

import pytest

import lightning_coordconv

PACKAGE = Path(lightning_coordconv.__file__).parent
COMPATIBILITY = {"layers/_torch.py", "core/_lightning.py", "rl/_sb3.py"}
FOREIGN = ("torch", "torchvision", "pytorch_lightning", "lightning_fabric", "torchmetrics", "stable_baselines3")
FOREIGN += ("gymnasium", "jsonargparse", "numpy", "rich", "matplotlib", "timm", "ale_py")


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


@cache
def own_names() -> set[str]:
    """Return the private names that the package itself defines: functions, classes, and what it assigns."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in COMPATIBILITY:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return found


def foreign_names(path: Path, own: set[str]) -> list[str]:
    """Return the private names that a file uses and the package does not define, and private imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            found.append(f"{path.name}:{node.lineno} {node.attr}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOREIGN:
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [f"{path.name}:{node.lineno} {part}" for part in parts if is_private(part)]
    return found


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_a_room_uses_no_private_name_of_another_package(room):
    own = own_names()
    for path in (PACKAGE / room).rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() not in COMPATIBILITY:
            assert not foreign_names(path, own)


def test_the_search_finds_private_names(tmp_path):
    path = tmp_path / "example.py"
    path.write_text("from torch._C import x\nimport torch\nself._mine\ntorch._dynamo\n")
    assert foreign_names(path, {"_mine"}) == ["example.py:1 _C", "example.py:4 _dynamo"]
