"""Bad input is refused in one line, and nothing is left behind."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_coordconv.datamodules import BaseDataModule
from lightning_coordconv.models.coordinates import DeconvPainter
from lightning_coordconv.tasks import CoordinateClassification

CONFIG = Path(__file__).parents[1] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"


class NothingDataModule(BaseDataModule):
    """Has samples without a single key."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.canvass", "32"], "canvass"),
        (["--data.partition", "half"], "half"),
        (["--data.canvas", "8"], "a canvas of 8 pixels is smaller than the square of 9 pixels"),
        (["--data.batch_size", "0"], "batch_size must be at least 1, got 0"),
        (["--model.net.init_args.filter_size", "1"], "filter_size must be at least the stride, 2, got 1"),
        (["--model.net.init_args.colour", "1"], "colour"),
        (["--data", f"{__name__}.NothingDataModule"], "CoordinateClassification reads"),
        (["--ckpt_path", "nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        (["--ckpt_path", "foreign.ckpt"], "foreign.ckpt holds weights of another architecture: size mismatch"),
        (["--ckpt_path", "damaged.ckpt"], "damaged.ckpt is damaged"),
    ],
)
def test_bad_input(cli, tmp_path, capsys, arguments, message):
    torch.save({"state_dict": CoordinateClassification(DeconvPainter(2, 1)).state_dict()}, tmp_path / "foreign.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"not a checkpoint")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", "-c", CONFIG, *arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_freed_memory_is_kept():
    faults = (
        "import resource, torch\n"
        "{}\n"
        "for _ in range(5): torch.ones(1 << 20).add(1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(50): torch.ones(1 << 20).add(1)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    kept = "from lightning_coordconv.memory import keep_freed_memory; keep_freed_memory()"
    given_back, reused = (
        int(subprocess.check_output([sys.executable, "-c", faults.format(line)], text=True)) for line in ("", kept)
    )
    assert reused < given_back / 4


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "lightning_coordconv"], [str(Path(sys.executable).parent / "lightning-coordconv")]],
)
def test_help(command):
    result = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for subcommand in ("fit", "validate", "test", "predict"):
        assert subcommand in result.stdout
    assert "convolutions that know where they are" in result.stdout
