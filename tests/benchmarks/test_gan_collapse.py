"""Tests of the GAN collapse experiment: records, figure, skipped runs, and the initialisation that balances inputs."""

import json
import sys

import pytest

from benchmarks import gan_collapse


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_collapse, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(gan_collapse, "FIGURE", tmp_path / "figure.png")
    monkeypatch.setattr(gan_collapse, "WIDTH", 2)
    monkeypatch.setattr(gan_collapse, "INTERVAL", 2)
    arguments = ["gan_collapse", "--seeds", "0", "--iterations", "3", "--arms", "tanh", "r1_balanced"]
    monkeypatch.setattr(sys, "argv", arguments)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_runs_are_recorded_drawn_and_not_repeated(folder, monkeypatch, capsys):
    gan_collapse.main()
    printed = capsys.readouterr().out
    assert "| the paper's recipe, tanh before the discriminator | 1 | 0 |" in printed
    assert (folder / "figure.png").stat().st_size > 10_000
    record = json.loads((folder / "runs" / "tanh_seed0.json").read_text())
    assert [entry["iteration"] for entry in record["history"]] == [0, 2]
    entry = record["history"][-1]
    assert len(entry["layers"]) == 8
    assert 0 < entry["gradients"]["before"] <= entry["gradients"]["after"]
    assert 0 < entry["slope"] <= 1
    monkeypatch.setattr(gan_collapse, "train", None)
    gan_collapse.main()
    assert capsys.readouterr().out in printed


def test_the_balanced_first_layer_hears_the_coordinates(folder):
    starts = {name: gan_collapse.train(gan_collapse.ARMS[name], 0, 1)["start"] for name in ("tanh", "r1_balanced")}
    assert starts["tanh"]["coordinates"] < 0.3 * starts["tanh"]["latents"]
    assert 0.5 < starts["r1_balanced"]["coordinates"] / starts["r1_balanced"]["latents"] < 2
