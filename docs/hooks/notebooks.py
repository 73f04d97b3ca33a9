"""A hook of MkDocs: runs the pages of docs/notebooks and adds what their cells print and draw.

A notebook is a Markdown file whose Python blocks are cells, which jupytext turns into a notebook, nbclient runs and
nbconvert turns into Markdown with pictures. A cell that raises an error ends the build. The executed notebook is part
of the site, and its page links to it. `mkdocs serve` shows notebooks as they are written: running all of them takes
minutes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

NOTEBOOKS = "docs/notebooks/"
SECONDS = 600
"""Time after which a cell is taken to be stuck."""
KERNEL = ["--log-level=ERROR"]
"""Arguments of the process that runs cells: a warning says that it can be watched from this machine."""
executing = True


def on_startup(*, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
    """Run notebooks in a build only."""
    global executing
    executing = command != "serve"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each notebook by its page, pictures and executed notebook."""
    notebooks = [file for file in files.documentation_pages() if file.src_uri.startswith(NOTEBOOKS)]
    for file in notebooks if executing else ():
        files.remove(file)
        for uri, content in execute(file.src_uri, file.content_string):
            files.append(File.generated(config, uri, content=content))
    return files


def execute(uri: str, text: str) -> Iterator[tuple[str, str | bytes]]:
    """Run a notebook in an empty folder, and yield the path and content of each file that it becomes.

    What cells write to standard error is left out: the log of libraries.
    """
    name = Path(uri).stem
    notebook = jupytext.reads(text, fmt="md")
    with tempfile.TemporaryDirectory() as folder:
        options = {"timeout": SECONDS, "kernel_name": "python3", "resources": {"metadata": {"path": folder}}}
        NotebookClient(notebook, extra_arguments=KERNEL, **options).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)  # times, which differ from build to build
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    resources = {"unique_key": name, "output_files_dir": f"{name}_files"}
    page, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    title, rest = page.replace("![png]", "![What the cell draws]").lstrip().split("\n", 1)
    download = f"\n[Download this page as an executed notebook]({name}.ipynb)\n"
    yield uri, f"{title}\n{download}{rest}"
    yield uri.replace(".md", ".ipynb"), nbformat.writes(notebook)
    for path, content in resources["outputs"].items():
        yield f"{NOTEBOOKS}{path}", content
