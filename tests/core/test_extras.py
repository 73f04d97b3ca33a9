"""Tests that ``--help`` works without optional packages, and that training an agent names the missing one."""

import subprocess
import sys
from pathlib import Path

import pytest

RL = ("ale_py", "cv2", "gymnasium", "imageio_ffmpeg", "stable_baselines3")
WITHOUT = (
    "import sys; sys.modules |= dict.fromkeys({missing}); "
    "from lightning_coordconv.runtime.cli import main; main({arguments})"
)
CONFIG = Path(__file__).parents[2] / "configs" / "rl" / "find_and_touch_coordconv.yaml"


def run_without(missing: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess:
    code = WITHOUT.format(missing=missing, arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_help_needs_no_extra():
    assert run_without(RL, "--help").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["stable_baselines3", "gymnasium"])
def test_agents_say_what_they_need(missing, tmp_path):
    result = run_without((missing,), "fit", "-c", CONFIG)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last == f"error: agents need {missing}: pip install 'lightning-coordconv[rl]'"
