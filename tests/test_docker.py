"""Tests of docker/: image stages, build context, README, nodes of the compose file, and the requeueing SLURM script."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
README = (DOCKER / "README.md").read_text()
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SLURM = DOCKER / "slurm.sh"
NODES = list(COMPOSE["services"].values())


def stage(name: str) -> str:
    """Return the instructions of a stage, after those of the stages that it is built on."""
    found = re.search(rf"^FROM (\S+) AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found, f"no stage {name}"
    base, instructions = found.groups()
    return instructions if base == "${BASE}" else stage(base) + instructions


def options(node: dict[str, Any]) -> dict[str, str]:
    """Return the options with values of a node's command."""
    return dict(word.split("=", 1) for word in node["command"] if "=" in word)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_target(target):
    instructions = re.sub(r"\\\n", " ", stage(target)).splitlines()
    assert 'ENTRYPOINT ["lightning-coordconv"]' in instructions
    assert [line for line in instructions if line.startswith("USER ")] == ["USER coordconv"]
    assert not [line for line in instructions if line.startswith(("HEALTHCHECK", "EXPOSE"))]
    for line in instructions:
        if "pip install" in line:
            assert "--constraint" in line or "--no-index" in line, line


def test_readme_names_the_targets_arguments_and_secrets():
    assert set(re.findall(r"--target (\w+)", README)) == {"cpu", "cuda"}
    arguments = set(re.findall(r"--build-arg (\w+)", README))
    assert arguments == set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert set(re.findall(r"--secret id=([\w.]+)", README)) == set(re.findall(r"type=secret,id=([\w.]+)", DOCKERFILE))


def test_build_context_holds_only_what_is_copied():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for name in sources.split()
    }
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)


def test_nodes_find_each_other():
    assert len(NODES) == 2
    for node in NODES:
        assert "ports" not in node
        assert node["entrypoint"] == ["torchrun"]
    assert NODES[0]["command"] == NODES[1]["command"]
    host, port = options(NODES[0])["--rdzv-endpoint"].split(":")
    assert host == next(iter(COMPOSE["services"])) == NODES[0]["hostname"]
    assert port.isdecimal()
    assert options(NODES[0])["--nnodes"] == options(NODES[0])["--trainer.num_nodes"] == "2"
    assert options(NODES[0])["--nproc-per-node"] == options(NODES[0])["--trainer.devices"] == "1"


def test_nodes_share_what_they_write():
    for node in NODES:
        (volume,) = node["volumes"]
        name, folder = volume.split(":")
        assert name in COMPOSE["volumes"]
        assert folder == "/workspace/logs"
    assert (DOCKER / NODES[0]["build"]["context"] / NODES[0]["build"]["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert stage(NODES[0]["build"]["target"])


@pytest.mark.slow
def test_command_of_the_nodes_is_valid(cli, capsys):
    command = NODES[0]["command"]
    arguments = command[command.index("lightning_coordconv") + 1 :]
    with pytest.raises(SystemExit) as exit_info:
        cli(*arguments, "--print_config")
    assert exit_info.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["num_nodes"] == 2


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True)])
def test_slurm_script_requeues_what_was_preempted(tmp_path, code, requeued):
    """Runs the script with substitutes for the commands of SLURM, which record their arguments."""
    for name, status in (("srun", code), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" > {name}.txt\nexit {status}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2",
                   "SLURM_NTASKS_PER_NODE": "4"}  # fmt: skip
    script = ["bash", str(SLURM), "some.yaml", "--trainer.max_steps=1"]
    assert subprocess.run(script, cwd=tmp_path, env=environment).returncode == code
    arguments = shlex.split((tmp_path / "srun.txt").read_text())
    assert arguments[:3] == ["lightning-coordconv", "fit", "--config=some.yaml"]
    assert {"--trainer.devices=4", "--trainer.num_nodes=2", "--ckpt_path=last"} < set(arguments)
    assert arguments[-1] == "--trainer.max_steps=1"
    assert (tmp_path / "scontrol.txt").exists() == requeued
    if requeued:
        assert (tmp_path / "scontrol.txt").read_text() == "requeue 7\n"


def test_slurm_script_asks_for_the_signal():
    directives = set(re.findall(r"^#SBATCH --(\S+)", SLURM.read_text(), re.MULTILINE))
    assert {"signal=USR1@90", "requeue", "nodes=2", "ntasks-per-node=4"} <= directives
