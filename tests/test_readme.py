"""Tests that every fenced block of the README and the documents runs, or is a valid command; links and lengths.

- ``python`` and ``yaml`` whose first line is ``# name.py`` or ``# name.yaml`` become files; other ``python`` is run,
  a page from top to bottom, with the stand-ins of ``GIVEN`` for what a reader has: data, an environment, a run.
- ``sh``: the commands of how-to pages, and of the page on environments, run in process. On other pages, where they take
  hours or need a cluster, the arguments of ``lightning-coordconv`` are parsed, and of other programs the named targets,
  modules, options, files and extras must exist.
- ``bibtex`` must agree with the package; ``text`` is output and must be in the results that it quotes.
"""

import importlib
import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch

import lightning_coordconv
from lightning_coordconv.runtime import data, export
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.runtime.comparison import command as comparison
from lightning_coordconv.runtime.sweep import command as sweep
from tests.detection.test_image_frames import MOBILE, SMALL, shaken
from tests.runtime.exports import save

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES += [ROOT / "configs" / "README.md", ROOT / "benchmarks" / "README.md"]
SMALLER = {'weights="IMAGENET1K_V2"': "weights=None", "224": "64", "448": "128"}
PASSED_ON = ("--data.", "--model.", "--trainer.")
PARSERS = {
    "compare": comparison.make_parser,
    "data": data.make_parser,
    "export": export.make_parser,
    "sweep": sweep.make_parser,
}
"""Commands that would read or train what a page only names."""


def environment():
    from stable_baselines3.common.env_util import make_vec_env

    importlib.import_module("lightning_coordconv.rl")  # registers the environment
    return make_vec_env("lightning_coordconv/FindAndTouch-v0", 1, env_kwargs={"size": 36})


def run_of_a_detector() -> dict[str, object]:
    """Write the config that a run of a detector leaves in its folder."""
    run = Path("logs", "detection", "coco_coordconv", "version_0")
    run.mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "detection" / "coco_coordconv.yaml", run / "config.yaml")
    return {}


FOREIGN = ("segmentation_models_pytorch",)
"""Packages that examples use and that no extra installs; their blocks run where they are installed."""
PICTURES = ("python.md", "own_points.md")
"""Pages that take folders of images as given."""
GIVEN = {
    "own_detector.md": run_of_a_detector,
    "own_model.md": lambda: {"loader": [(torch.rand(2, 3, 64, 64), torch.tensor([1, 2]))]},
    "agents.md": lambda: {"env": environment(), "total_timesteps": 10},
}
"""What a page takes as given."""


def trained_detector() -> None:
    """Write a ``detector.ckpt`` whose boxes have different scores: that of a page, after an epoch, is not exported."""
    detection = importlib.import_module("lightning_coordconv.detection")
    options = SMALL | {"box_score_thresh": 0.0, "box_detections_per_img": 20}
    task = detection.ObjectDetection(shaken(detection.Detector(MOBILE, 3, "stem", options=options)))
    save(task, Path("detector.ckpt"), categories=[[1, "hat"], [2, "tree"]])


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    """Return the words of each command, without comments and leading assignments."""
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [[word for word in line if not re.match(r"[A-Z_]+=", word)] for line in words if line]


def parse(arguments: list[str]) -> None:
    """Show that the command line accepts arguments, without running anything."""
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--print_config"])
    assert end.value.code == 0


def check(words: list[str], run: bool) -> None:
    """Run a command in process, or show that what it names exists."""
    program, *arguments = words
    if program == "lightning-coordconv":
        if run or arguments[0] in ("configs", "--help"):
            main(arguments)
        elif arguments[0] in PARSERS:
            PARSERS[arguments[0]]().parse_known_args(arguments[1:])
        else:
            parse(arguments)
    elif program == "torchrun":
        parse(arguments[arguments.index("lightning_coordconv") + 1 :])
    elif program == "sbatch":
        script = arguments.index("docker/slurm.sh")
        assert (ROOT / arguments[script]).is_file()
        parse(["fit", "-c", *arguments[script + 1 :]])
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif program == "pip":
        extras = re.findall(r"^(\w+) = \[$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert set(re.findall(r"\[(\w+)\]", arguments[1])) <= {*extras, "all"}, words
    elif program == "python":
        spec = importlib.util.find_spec(arguments[1])
        assert spec is not None, words
        source = Path(spec.origin).read_text()
        options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        assert all(f'"{option}"' in source for option in options if not option.startswith(PASSED_ON)), words
    elif program == "pipx":
        assert arguments[:2] in (["run", "build"], ["run", "twine"]), words
    elif program == "mike":
        assert arguments[0] in ("deploy", "set-default", "serve"), words
    elif program in ("docker", "podman", "podman-compose"):
        assert all((ROOT / word).is_file() for word in arguments if word.endswith(".yaml")), words
    else:
        pytest.fail(f"nothing is known of the command {program!r}")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-coordconv"])
    scope = GIVEN.get(page.name, dict)()
    if page.name in PICTURES:
        request.getfixturevalue("pictures")
    for language, text in blocks(page):
        if any(name in text and importlib.util.find_spec(name) is None for name in FOREIGN):
            continue
        name = re.match(r"# (\w+\.(?:py|yaml))\n", text)
        if name:
            Path(name[1]).write_text(text)
        elif language == "python":
            for shown, smaller in SMALLER.items():
                text = text.replace(shown, smaller)
            if 'load("detector.ckpt").export' in text:
                trained_detector()
            exec(text, scope)
        elif language == "sh":
            for words in commands(text):
                check(words, run=page.name.startswith(("how_to", "own_environment")))
        elif language == "bibtex":
            assert text.count("{") == text.count("}")
            assert f"version = {{{lightning_coordconv.__version__}}}" in text
        else:
            assert language == "text", f"{page.name} has a block of {language!r}: say how to test it"
    for module in [
        name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[module]


def test_readme_is_one_screen():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    (layer, surgery) = [block for language, block in blocks(ROOT / "README.md") if language == "python"]
    assert layer.count("\n") <= 12
    assert surgery.count("\n") <= 6


def test_the_glossary_has_at_most_thirty_terms():
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(rows) <= 30
    assert rows == sorted(rows, key=str.lower)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if not target.startswith("http") and not (page.parent / target).exists()]
    assert missing == []


def test_tests_that_the_scaling_page_names_exist():
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (ROOT / "docs" / "scaling.md").read_text())
    assert len(named) > 10
    for file, test in named:
        assert any(f"def {test}" in path.read_text() for path in ROOT.glob(f"tests/**/{file}")), (file, test)


@pytest.mark.slow
def test_what_the_own_model_page_makes(tmp_path, monkeypatch, capsys):
    """The converted layer, its trained coordinates, the folded model and the exported file."""
    monkeypatch.chdir(tmp_path)
    scope = GIVEN["own_model.md"]()
    code = "".join(text for language, text in blocks(ROOT / "docs" / "own_model.md") if language == "python")
    for shown, smaller in SMALLER.items():
        assert shown in code
        code = code.replace(shown, smaller)
    exec(code, scope)
    assert capsys.readouterr().out.startswith("['conv1']")
    assert scope["coordinates"][0].abs().max() > 0
    expected = scope["model"](scope["images"])
    rounding = 1e-5 * expected.abs().max().item()  # the activations of random weights grow from layer to layer
    torch.testing.assert_close(scope["folded"](scope["images"]), expected, rtol=1e-4, atol=rounding)
    assert (tmp_path / "resnet50_coordconv.onnx").stat().st_size > 10_000
