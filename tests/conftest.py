"""Fixtures that all tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_coordconv.cli import main


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run the command line in process, in an empty folder, and return that folder."""
    monkeypatch.setattr("sys.argv", ["lightning-coordconv"])
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Path:
        main([str(arg) for arg in args])
        return tmp_path

    return run
