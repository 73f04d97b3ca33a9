"""Tests of the layout: allowed imports, public names, lengths and first lines of files, and phrases not to use."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

import lightning_coordconv

PACKAGE = Path(lightning_coordconv.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = [
    *PACKAGE.rglob("*.py"),
    *(path for name in ("benchmarks", "docs", "tests") for path in (ROOT / name).rglob("*.py")),
]
"""All Python files of the repository."""
DOMAINS = ("coordinates", "classification", "detection", "generative", "rl", "segmentation", "position")
MAY_IMPORT = {
    "layers": {"layers"},
    "core": {"core"},
    **{domain: {domain, "layers", "core"} for domain in DOMAINS},
    "runtime": {"runtime", "core"},
}
OPTIONAL = {"lmdb", "mlxtend", "onnx", "onnxruntime", "onnxscript", "optuna", "pycocotools", "timm", "torchao"}
OPTIONAL |= {"ale_py", "cv2", "gymnasium", "imageio_ffmpeg", "stable_baselines3"}
PUBLIC = (*MAY_IMPORT, "runtime.callbacks")
"""Packages whose ``__all__`` is what others use."""
RIDDLES = (
    "So many numbers may be in a cache still",
    "Which of several networks the loss that is minimised just now belongs to",
    "Chance goes on where it stood",
    "The end of a rank.",
    "there are to convert",
    "Stopped, and gone on",
    "Two words: how the processes work together",
    "an agent nearly as good as the computer's",
    "position bias",
    "coordinates' part",
)
"""Sentences and terms that readers did not understand; none of them may come back."""


def modules(*folders: Path) -> dict[str, Path]:
    """Return the files of Python packages by the names of their modules."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that statements import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_when_loaded(path: Path) -> Iterator[str]:
    """Yield what a module imports while it is being imported: not what its functions import, nor what types need."""
    waiting: list[ast.AST] = list(parsed(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        else:
            waiting += ast.iter_child_nodes(node)


def folders() -> set[str]:
    return {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name not in ("__pycache__", "configs")}


def test_every_folder_has_its_rule():
    assert folders() <= set(MAY_IMPORT)
    assert len(folders()) <= 10


@pytest.mark.parametrize("folder", sorted(folders()))
def test_imports_follow_the_rules(folder: str):
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not re.search(r"^\s*from \.", path.read_text(), re.MULTILINE), f"{path.name}: a relative import"
        for name in imports(parsed(path)):
            parts = name.split(".")
            if parts[0] == "lightning_coordconv" and name not in (
                "lightning_coordconv",
                "lightning_coordconv.__version__",
            ):
                assert parts[1] in MAY_IMPORT[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_layers_know_only_torch():
    allowed = set(sys.stdlib_module_names) | {"torch", "lightning_coordconv"}
    for path in (PACKAGE / "layers").rglob("*.py"):
        assert {name.split(".")[0] for name in imports(parsed(path))} <= allowed, path.name


def test_optional_packages_are_not_imported_at_import_time():
    """They are imported in functions or within ``with extra(...)``, which names what to install."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "environments":
            continue
        top = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        roots = {name.split(".")[0] for node in top for name in imports(node)}
        assert not roots & OPTIONAL, path.name


def test_no_module_imports_itself_in_a_circle():
    known = modules(PACKAGE, ROOT / "benchmarks")
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        found = {
            imported if imported in known else imported.rpartition(".")[0] for imported in imports_when_loaded(path)
        }
        graph[name] = (found & set(known)) - {name}
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def test_files_are_short_and_named_for_what_they_hold():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path
        assert not re.search("util|helper|misc|common", path.stem), path


def test_every_file_begins_with_a_sentence_of_its_contents():
    first = {}
    for path in FILES:
        line = (ast.get_docstring(parsed(path)) or "").partition("\n")[0]
        assert line.endswith("."), path
        assert first.setdefault(line, path) == path


def names_in(text: str) -> set[str]:
    """Return the dotted names of the package that a text has, such as ``lightning_coordconv.rl.PPO``."""
    names = re.findall(r"(?<![\w/.'-])lightning_coordconv((?:\.\w+)+)(?![\w/(-]*\.(?:py|md|yaml))", text)
    pieces = re.findall(r"from lightning_coordconv((?:\.\w+)*) import (\([\w, \n]+|[\w, ]+)", text)
    imported = {
        f"{module}.{name.split()[0]}" for module, some in pieces for name in some.lstrip("(").split(",") if name.split()
    }
    return {name.removeprefix(".") for name in {*names, *imported}}


def is_public(name: str) -> bool:
    """Tell whether a name below the package is exported by an ``__init__`` file, or is an attribute of what is."""
    if name in PUBLIC:
        return True
    package = next(package for package in (*reversed(PUBLIC), "") if name.startswith(f"{package}." if package else ""))
    exported = name.removeprefix(package).removeprefix(".").partition(".")[0]
    return exported in importlib.import_module(f"lightning_coordconv.{package}".rstrip(".")).__all__


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/*.yaml")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_and_configs_name_only_what_a_folder_exports(path: Path):
    text = path.read_text().replace("lightning_coordconv/FindAndTouch-v0", "")
    assert {name for name in names_in(text) if not is_public(name)} <= {"__version__"}


@pytest.mark.parametrize("room", [*DOMAINS, "core", "layers"])
def test_tests_of_other_rooms_name_only_what_a_domain_exports(room: str):
    """``core`` and ``runtime`` are no domains: their modules are what all the others are built on."""
    foreign = {}
    for path in (ROOT / "tests" / room).rglob("*.py"):
        names = {name for name in imports(parsed(path)) if name.startswith("lightning_coordconv.")}
        for name in (name.removeprefix("lightning_coordconv.") for name in names):
            if name.split(".")[0] in set(DOMAINS) - {room} and not is_public(name):
                foreign[name] = path.name
    assert foreign == {}


def test_configs_name_classes_that_exist():
    """A config that names a class is read by the command line; this finds a wrong name without running it."""
    for path in (ROOT / "configs").rglob("*.yaml"):
        yaml.safe_load(path.read_text())
        for name in re.findall(r"lightning_coordconv\.([\w.]+)", path.read_text()):
            assert is_public(name), f"{path.name}: {name}"


WRITTEN = [
    *(ROOT / folder for folder in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(path for folder in ("lightning_coordconv", "benchmarks", "configs", "docs") for path in (ROOT / folder).rglob("*")
      if path.suffix in (".py", ".md", ".yaml")),
]  # fmt: skip


@pytest.mark.parametrize("riddle", RIDDLES)
def test_no_riddle_comes_back(riddle: str):
    found = [path.relative_to(ROOT).as_posix() for path in WRITTEN if path.is_file() and riddle in path.read_text()]
    assert found == []
