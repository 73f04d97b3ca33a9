"""A hook of MkDocs: the site has the folders of the repository, so that a relative link works in both.

MkDocs expects all pages in one folder. Here README files and the pages of docs/ link to each other and to files of the
code, as GitHub reads them. The hook therefore gives MkDocs every document under its path in the repository, and each
file that a document links to. It also generates a reference page for each package that has an interface.
"""

import ast
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "build" / "onnxruntime-web"
DOCUMENTS = ("*.md", "docs/**/*", "configs/README.md", "benchmarks/README.md", "docker/README.md")
EXPERIMENT = "docs/experiment"
"""The page that runs networks in the browser."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add a menu of versions to a site that mike builds; the list of versions lies beside the sites."""
    if "MIKE_DOCS_VERSION" in os.environ:
        config.extra["version"] = {"provider": "mike"}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the theme, the documents, what they link to, the reference and the browser's runtime."""
    found = Files([file for file in files if file.src_dir != config.docs_dir])
    documents = {
        path for pattern in DOCUMENTS for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".py"
    }
    linked = {target for document in documents if document.suffix == ".md" for target in links(document)}
    for path in sorted(documents | linked):
        if "__pycache__" not in path.parts:
            found.append(generated(config, path.relative_to(ROOT).as_posix(), path))
    for module, names in interfaces().items():
        uri = f"reference/{module.removeprefix('lightning_coordconv.')}.md"
        found.append(File.generated(config, uri, content=reference(module, names)))
    if not RUNTIME.is_dir():
        raise PluginError(f"{RUNTIME} is missing: `make docs` downloads it and builds the site")
    for path in sorted(RUNTIME.iterdir()):
        found.append(generated(config, f"{EXPERIMENT}/{RUNTIME.name}/{path.name}", path))
    return found


def generated(config: MkDocsConfig, uri: str, path: Path) -> File:
    """Return a file of the site whose content is that of a file of the repository."""
    return File.generated(config, uri, abs_src_path=str(path))


def links(document: Path) -> set[Path]:
    """Return the files of the repository that a Markdown document links to."""
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    paths = {(document.parent / target).resolve() for target in targets if not target.startswith("http")}
    return {path for path in paths if path.is_file()}


def interfaces() -> dict[str, list[str]]:
    """Return the public names of the package and of each of its folders that exports some."""
    found = {}
    for path in sorted(ROOT.glob("lightning_coordconv/**/__init__.py")):
        module = ".".join(path.parent.relative_to(ROOT).parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found[module] = ast.literal_eval(node.value)
    del found["lightning_coordconv"]  # the names of lightning_coordconv.layers once more
    return found


def reference(module: str, names: list[str]) -> str:
    """Return the reference page of a module: its docstring, and each public name's."""
    own = f"# {module}\n\n::: {module}\n    options:\n      members: false\n      show_root_heading: false\n\n"
    return own + "\n".join(f"::: {module}.{name}\n" for name in names)
