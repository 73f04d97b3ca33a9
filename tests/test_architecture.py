"""The arrows between the package's folders run one way."""

import ast
import sys
from pathlib import Path

import pytest

import lightning_coordconv

PACKAGE = Path(lightning_coordconv.__file__).parent
DOMAINS = ("coordinates", "classification", "detection", "generative", "rl", "segmentation")
MAY_IMPORT = {
    "layers": {"layers"},
    "core": {"core"},
    **{domain: {domain, "layers", "core"} for domain in DOMAINS},
    "runtime": {"runtime", "core"},
}
OPTIONAL = {"lmdb", "mlxtend", "onnx", "onnxruntime", "onnxscript", "pycocotools", "timm"}
OPTIONAL |= {"ale_py", "cv2", "gymnasium", "imageio_ffmpeg", "stable_baselines3"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_folder_has_its_rule():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(MAY_IMPORT)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_follow_the_arrows(folder: str):
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "lightning_coordconv" and name != "lightning_coordconv.__version__":
                assert parts[1] in MAY_IMPORT[folder], f"{path.name} imports {name}"


def test_layers_know_only_torch():
    allowed = set(sys.stdlib_module_names) | {"torch", "lightning_coordconv"}
    for path in (PACKAGE / "layers").rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= allowed, path.name


def test_optional_packages_are_not_imported_at_import_time():
    """They are imported in functions or within ``with extra(...)``, which names what to install."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "environments":
            continue
        top = ast.Module(ast.parse(path.read_text()).body, [])
        roots = {
            alias.name.split(".")[0] if isinstance(node, ast.Import) else (node.module or "").split(".")[0]
            for node in top.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not roots & OPTIONAL, path.name
