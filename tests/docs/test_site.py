"""Tests of the documentation site: navigation, reference, notebooks, and its pages and demo in headless Chromium.

The pages are tested where ``make docs`` has built them and Chromium is installed (``CHROMIUM`` names another program).
"""

import http.server
import importlib.util
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium"))
NAVIGATION = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
PAGE = "docs/experiment/"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
"""Options without which Chromium calls its maker's servers."""

needs_site = pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="the site is not built: run `make docs`")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, or CHROMIUM names none")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line in the log for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the site on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: run `make docs`")
    with playwright.sync_playwright() as started:
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened at some size, and what went wrong on it."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.address = address
        self.page = browser.new_context(**context).new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type in ("error", "warning") and self.errors.append(line.text))
        self.page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))
        self.page.route("**/*", self.route)

    def route(self, route: Any) -> None:
        """Answer requests to this server only."""
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def open_experiment(self) -> None:
        """Open the page of the experiment, and wait until both networks have answered."""
        self.page.goto(self.address + PAGE)
        self.page.wait_for_selector("#experiment[data-state=ready]")

    def click(self, x: int, y: int) -> list[dict[str, str]]:
        """Click a pixel, and return what each network says of it."""
        canvas = self.page.locator("#experiment canvas").first
        canvas.scroll_into_view_if_needed()
        side = canvas.bounding_box()["width"] / 64
        canvas.click(position={"x": (x + 0.5) * side, "y": (y + 0.5) * side})
        return self.answers(x, y)

    def answers(self, x: int, y: int) -> list[dict[str, str]]:
        """Wait until both networks have painted a pixel, and return what each says of it."""
        self.page.wait_for_selector(f'#experiment[data-x="{x}"][data-y="{y}"]')
        return self.page.eval_on_selector_all("#experiment figure[data-x]", "all => all.map(one => ({...one.dataset}))")


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Return a function that opens a visit; no visit may end with an error or a request to another server."""
    visits = []

    def open_visit(**context: Any) -> Visit:
        visits.append(Visit(browser, address, **context))
        return visits[-1]

    yield open_visit
    for one in visits:
        one.page.context.close()
        assert (one.errors, one.foreign) == ([], [])


def painted(visit: Visit, picture: int) -> int:
    """Return the number of different colours in a picture."""
    script = """canvas => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return new Set(new Uint32Array(data.buffer)).size;
    }"""
    return visit.page.locator("#experiment canvas").nth(picture).evaluate(script)


def test_every_document_is_in_the_navigation():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")]
    named = {name for name in NAVIGATION if not name.startswith("reference/")}
    assert named == {path.relative_to(ROOT).as_posix() for path in documents}
    for path in documents:  # a document that is linked is a page of the site, and a page must be in the navigation
        targets = re.findall(r"\]\(([^)#\s]+\.md)", path.read_text())
        linked = {(path.parent / target).resolve() for target in targets if not target.startswith("http")}
        assert linked <= {document.resolve() for document in documents}, path


def test_every_interface_is_in_the_reference():
    package = ROOT / "lightning_coordconv"
    interfaces = {path.parent for path in package.glob("*/**/__init__.py") if "__all__" in path.read_text()}
    names = {".".join(folder.relative_to(package).parts) for folder in interfaces}
    assert {name for name in NAVIGATION if name.startswith("reference/")} == {f"reference/{name}.md" for name in names}


NOTEBOOKS = sorted(path.stem for path in (ROOT / "docs" / "notebooks").glob("*.md"))


def test_every_domain_that_loads_models_has_a_notebook():
    package = ROOT / "lightning_coordconv"
    domains = {path.parent.name for path in package.glob("*/__init__.py") if '"load"' in path.read_text()}
    assert set(NOTEBOOKS) == domains
    for name in NOTEBOOKS:
        text = (ROOT / "docs" / "notebooks" / f"{name}.md").read_text()
        assert "Trainer(" in text, name
        assert ".plot()" in text, name
        assert "<img" not in text, f"{name}: what cells draw is made by the build"


@needs_site
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_build_runs_every_cell_of_the_notebooks(name):
    cells = json.loads((SITE / "docs" / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not {"error", "stderr"} & {output.get("name", output["output_type"]) for output in outputs}
    page = (SITE / "docs" / "notebooks" / name / "index.html").read_text()
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert page.count('alt="What the cell draws"') == drawn > 0


@pytest.mark.parametrize("by_mike", [False, True])
def test_only_a_site_that_mike_builds_has_a_menu_of_versions(by_mike, monkeypatch):
    defaults = pytest.importorskip("mkdocs.config.defaults", reason="MkDocs is not installed: run `make docs`")
    spec = importlib.util.spec_from_file_location("repository_hook", ROOT / "docs" / "hooks" / "repository.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    monkeypatch.delenv("MIKE_DOCS_VERSION", raising=False)
    if by_mike:
        monkeypatch.setenv("MIKE_DOCS_VERSION", '{"version": "0.1"}')
    config = defaults.MkDocsConfig()
    config.extra = {}
    assert hook.on_config(config).extra.get("version") == ({"provider": "mike"} if by_mike else None)


def test_networks_of_the_page_are_described_as_exported():
    page = json.loads((ROOT / PAGE / "networks.json").read_text())
    assert [network["name"] for network in page["networks"]] == ["CoordConv", "Deconvolution"]
    sizes = [(ROOT / PAGE / network["file"]).stat().st_size for network in page["networks"]]
    assert sizes == [network["bytes"] for network in page["networks"]]
    assert sum(sizes) < 2 << 20


@pytest.mark.slow
@needs_site
@needs_chromium
class TestExperiment:
    """The page that runs both networks in the browser."""

    @pytest.mark.parametrize("width", [390, 1280])
    def test_a_click_paints_with_both_networks(self, visit, width):
        page = visit(viewport={"width": width, "height": 844})
        page.open_experiment()
        coordconv, deconv = page.click(50, 45)  # a pixel of the quadrant that was never trained
        assert coordconv == {"x": "50", "y": "45", "correct": "true"}
        assert deconv["correct"] == "false"
        assert painted(page, 1) > 4
        assert painted(page, 2) > 4
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        again, _ = page.click(20, 10)
        assert again == {"x": "20", "y": "10", "correct": "true"}
        assert "a training position" in page.page.locator("#experiment").inner_text()

    def test_keys_and_fields_move_the_pixel(self, visit):
        page = visit(viewport={"width": 1280, "height": 844})
        page.open_experiment()
        page.click(30, 30)
        for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight", "ArrowLeft", "ArrowUp", "Shift+ArrowUp"):
            page.page.keyboard.press(key)
        assert len(page.answers(38, 22)) == 2
        page.page.get_by_label("x", exact=True).fill("63")
        page.page.get_by_label("x", exact=True).press("Enter")
        page.answers(63, 22)
        page.page.locator("#experiment canvas").first.press("ArrowRight")  # the edge holds it
        page.answers(63, 22)
        assert "outside the positions of the data" in page.page.locator("#experiment").inner_text()

    def test_pictures_follow_the_colours_of_the_system(self, visit):
        colours = []
        for scheme in ("light", "dark"):
            page = visit(color_scheme=scheme)
            page.open_experiment()
            colours.append(page.page.locator("#experiment canvas").first.screenshot())
        assert colours[0] != colours[1]

    @pytest.mark.parametrize("missing", ["deconv.onnx", "networks.json", "ort.wasm.bundle.min.mjs", "threaded.wasm"])
    def test_what_cannot_be_loaded_is_said(self, visit, missing):
        page = visit()
        page.page.route(f"**/*{missing}", lambda route: route.fulfill(status=404))
        page.page.goto(page.address + PAGE)
        page.page.wait_for_selector("#experiment[data-state=failed]")
        assert "The experiment cannot run in this browser: " in page.page.locator("#experiment").inner_text()
        assert page.errors
        page.errors.clear()

    def test_without_javascript_the_page_says_what_it_needs(self, visit):
        page = visit(java_script_enabled=False)
        page.page.goto(page.address + PAGE)
        assert "needs JavaScript and WebAssembly" in page.page.locator("#experiment").inner_text()


@pytest.mark.slow
@needs_site
@needs_chromium
@pytest.mark.parametrize("path", ["", "docs/mathematics/", "configs/", "reference/layers/"])
def test_pages_load_nothing_from_other_servers(visit, path):
    page = visit(viewport={"width": 390, "height": 844})
    page.page.goto(page.address + path, wait_until="networkidle")
    assert page.page.locator("article h1").inner_text()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
