"""Tests of the command line: bad input, help, order of options, Ctrl-C, start-up, kept memory, float32 products."""

import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import Trainer

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.runtime import malloc
from lightning_coordconv.runtime.cli import COMMANDS, LIGHTNING

CONFIG = Path(__file__).parents[2] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"


class NothingDataModule(BaseDataModule):
    """Has samples without a single key."""


def test_torchvision_that_does_not_belong_to_torch_is_named(cli, capsys, monkeypatch):
    """A build for a GPU beside torch for a CPU cannot be imported."""
    fault = "operator torchvision::nms does not exist"
    monkeypatch.setattr(
        "lightning_coordconv.runtime.cli.importlib.import_module", Mock(side_effect=RuntimeError(fault))
    )
    with pytest.raises(SystemExit) as ended:
        cli("data", "check", "folder")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: torchvision ")
    assert f"was not built for torch {version('torch')} ({fault}): install" in error
    with pytest.raises(RuntimeError, match=fault):
        cli("data", "check", "folder", "--debug")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.canvass", "32"], "canvass"),
        (["--data.partition", "half"], "half"),
        pytest.param(
            ["--data.canvas", "8"],
            "a canvas of 8 pixels is smaller than the square of 9 pixels",
            marks=pytest.mark.slow,
        ),
        (["--data.seed", "3"], "the data get the seed of the run, so data.seed would have no effect"),
        (["--data.batch_size", "0"], "batch_size must be at least 1, got 0"),
        pytest.param(
            ["--model.net.init_args.filter_size", "1"], "filter_size must be at least 2, got 1", marks=pytest.mark.slow
        ),
        (["--model.net.init_args.colour", "1"], "colour"),
        pytest.param(
            ["--data", f"{__name__}.NothingDataModule"], "CoordinateClassification reads", marks=pytest.mark.slow
        ),
        pytest.param(["--ckpt_path", "nowhere.ckpt"], "no checkpoint at nowhere.ckpt", marks=pytest.mark.slow),
        pytest.param(
            ["--ckpt_path", "foreign.ckpt"],
            "foreign.ckpt holds weights of another architecture: size mismatch",
            marks=pytest.mark.slow,
        ),
        (["--ckpt_path", "damaged.ckpt"], "damaged.ckpt is damaged, or not a checkpoint"),
        pytest.param(
            ["--ckpt_path", "stranger.ckpt"],
            "stranger.ckpt is not a checkpoint of tensors and plain data only",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_input(cli, tmp_path, capsys, arguments, message):
    torch.save({"state_dict": CoordinateClassification(DeconvDecoder(2, 1)).state_dict()}, tmp_path / "foreign.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"not a checkpoint")
    torch.save({"state_dict": Path("code")}, tmp_path / "stranger.ckpt")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", "-c", CONFIG, *arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc")
@pytest.mark.parametrize("size", [24, 200])  # of a block in MiB; glibc's largest threshold is 32
def test_freed_memory_is_kept(size):
    faults = (
        "import ctypes, resource, runpy\n"
        "if {kept}: runpy.run_path({path!r})['keep_freed_memory']()\n"
        "c = ctypes.CDLL(None)\n"
        "c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]\n"
        "def work():\n"
        "    blocks = [c.malloc({size} << 20) for _ in range(3)]\n"
        "    for block in blocks: c.memset(block, 1, {size} << 20)\n"
        "    for block in blocks: c.free(block)\n"
        "for _ in range(5): work()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): work()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    given_back, reused = (
        int(subprocess.check_output([sys.executable, "-c", code], text=True))
        for code in (faults.format(kept=kept, path=malloc.__file__, size=size) for kept in (False, True))
    )
    assert reused < given_back / 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "lightning_coordconv"], [str(Path(sys.executable).parent / "lightning-coordconv")]],
)
def test_help_of_an_installed_command(command):
    for arguments in (["--help"], []):
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        assert "convolutions that know where they are" in result.stdout
        assert all(f"\n    {name} " in result.stdout for name in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command, cli, capsys):
    with pytest.raises(SystemExit) as ended:
        cli(command, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: lightning-coordconv ")
    assert len(text.splitlines()) < 600
    assert COMMANDS[command].module != LIGHTNING or f"\n\n{COMMANDS[command].summary.capitalize()}.\n" in text
    assert not re.search(r" (a|and|of|or|the|to|your):?\n\n", text)  # a sentence that is cut


@pytest.mark.slow
@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.module == LIGHTNING])
def test_help_says_which_checkpoints_a_command_takes(command, cli, capsys):
    with pytest.raises(SystemExit):
        cli(command, "--help")
    text = " ".join(capsys.readouterr().out.rpartition("Weights and results:")[2].split())
    words = ("to resume from", "`last`") if command == "fit" else ("`last` or `best` of the newest run", "`none`")
    assert all(word in text for word in words)
    assert "trainer.fit" not in text


def test_an_unknown_command_is_refused_with_the_list_of_commands(cli, capsys):
    with pytest.raises(SystemExit) as ended:
        cli("train")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'train'" in line
    assert all(name in line for name in COMMANDS)


@pytest.mark.slow
def test_options_may_come_before_a_command_of_lightning(cli, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: None)
    Path("all.yaml").write_text("fit: {trainer: {accelerator: cpu}}")
    with pytest.raises(SystemExit, match="no optimiser step"):
        cli("-c", "all.yaml", "fit", "-c", CONFIG)


@pytest.mark.slow
def test_one_batch_is_not_all_batches(cli, monkeypatch):
    """Whatever order of int and float other libraries left in the types of the Trainer."""
    hints = inspect.unwrap(Trainer.__init__).__annotations__
    monkeypatch.setitem(hints, "limit_train_batches", float | int | None)
    limits = []
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *_, **__: limits.append(trainer.limit_train_batches))
    for given in ("1", "1.0"):
        with pytest.raises(SystemExit, match="no optimiser step"):
            cli("fit", "-c", CONFIG, f"--trainer.limit_train_batches={given}")
    assert list(map(repr, limits)) == ["1", "1.0"]


@pytest.mark.slow
def test_ctrl_c_ends_a_command_in_one_line(cli, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_coordconv.runtime.sweep.command.main", interrupted)
    with pytest.raises(SystemExit) as end:
        cli("sweep", "detection/proposals_conv")
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")


@pytest.mark.slow
def test_the_list_of_commands_needs_no_lightning():
    """So it appears at once, and a signal during the imports of a run already ends it with exit code 75."""
    code = "import sys, lightning_coordconv.runtime.cli; sys.exit('pytorch_lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
