"""Tests of the lowest Python, the pinned versions, the Makefile's help, and the built wheel: contents and types."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PINNED_FILES = ("constraints.txt", "constraints-oldest.txt")
PROGRAM = """\
import torch
from torch import nn

from lightning_coordconv import CoordConv2d, to_coordconv

layer = CoordConv2d(3, 8, kernel_size=3, padding="same")
output: torch.Tensor = layer(torch.rand(2, 3, 8, 8))
model: nn.Sequential = to_coordconv(nn.Sequential(nn.Conv2d(3, 8, 3)), where="first")
"""


def requirements() -> list[Requirement]:
    """Return every requirement on another package."""
    lists = PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()
    found = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def pins(file: str) -> dict[str, Version]:
    """Return the version of each package that a constraints file pins."""
    lines = (line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the source distribution as a package index would receive it."""
    dist = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(dist)]
    subprocess.run([*build, "--target", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = dist.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", archive], cwd=dist, check=True)
    unpacked = dist / archive.name.removesuffix(".tar.gz")
    subprocess.run([*build, "--target", "wheel"], cwd=unpacked, check=True, capture_output=True)
    (path,) = dist.glob("*.whl")
    return path


@pytest.mark.parametrize("requirement", requirements(), ids=str)
@pytest.mark.parametrize("file", PINNED_FILES)
def test_pinned_version_is_admitted(requirement: Requirement, file: str):
    assert pins(file)[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_oldest_environment_pins_the_lowest_admitted_version(requirement: Requirement):
    (lowest,) = (part.version for part in requirement.specifier if part.operator == ">=")
    assert pins("constraints-oldest.txt")[canonicalize_name(requirement.name)] == Version(lowest)


def test_lowest_python_is_the_same_everywhere():
    lowest = PROJECT["requires-python"].removeprefix(">=")
    versions = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.", line)]
    assert versions[0] == lowest
    assert f"Python {lowest}" in (ROOT / "constraints.txt").read_text().splitlines()[0]
    assert f"--python-version {lowest} " in (ROOT / "constraints-oldest.txt").read_text()
    assert "target-version" not in PYPROJECT["tool"]["ruff"]  # ruff reads requires-python
    assert "python_version" not in PYPROJECT["tool"]["mypy"]  # mypy checks for the Python that runs it


def test_make_help_says_how_long_each_target_takes():
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in shown} == set(phony.split())
    assert [line for line in shown if not re.search(r"\((at once|.*(second|minute)s?.*)\)$", line)] == []


@pytest.mark.slow
def test_wheel_contains_the_package_and_the_configs_of_its_classes(wheel):
    contents = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "configs", "lightning_coordconv"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    able = [name for name in tracked if b"class_path: benchmarks." not in (ROOT / name).read_bytes()]
    assert len(able) < len(tracked)
    expected = {re.sub("^configs/", "lightning_coordconv/configs/", name) for name in able}
    assert {"lightning_coordconv/py.typed", "lightning_coordconv/__init__.py"} < expected
    assert "lightning_coordconv/coordinates/weights/painter.ckpt" in expected
    assert {name for name in contents if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_types_of_the_installed_wheel(wheel, tmp_path):
    """Runs mypy on a user's program in an environment where only the wheel supplies the package."""
    environment = tmp_path / "environment"
    venv.create(environment)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(packages), str(wheel)]
    subprocess.run([sys.executable, *install], check=True)
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(PROGRAM + 'CoordConv2d("three", 8, 3)\nto_coordconv(model, where=1.5)\n')
    options = ["--strict", "--config-file=", f"--python-executable={environment / 'bin' / 'python'}"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True
    )
    found = [line.split(": error:")[0] for line in result.stdout.splitlines() if ": error:" in line]
    line = PROGRAM.count("\n") + 1
    assert found == [f"wrong.py:{line}", f"wrong.py:{line + 1}"], result.stdout + result.stderr
