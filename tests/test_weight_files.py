"""Tests that all files of weights are read by ``core/checkpoints.py``, which refuses damaged and hostile ones."""

import ast
import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C as SB3A2C
from torch import nn

import lightning_coordconv
from lightning_coordconv.core.checkpoints import read_state_dict
from lightning_coordconv.detection import Detector
from lightning_coordconv.position.command import load_model
from lightning_coordconv.rl import A2C, EnvironmentDataModule
from tests.slow import slow_except

PACKAGE = Path(lightning_coordconv.__file__).parent
GATE = PACKAGE / "core" / "checkpoints.py"
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
LOADING = {"load", "load_file", "load_url", "load_state_dict_from_url", "load_from_zip_file", "read_pickle"}
LOADERS = {"torch", "torch.serialization", "torch.jit", "torch.hub", "torch.package", "np", "numpy", "yaml"}
RECORD = b"policy.pth"


def loads(path: Path) -> list[str]:
    """Return where a file imports a module that unpickles, or calls a function that can."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLING]
        elif isinstance(node, ast.ImportFrom) and node.module:
            root = node.module.split(".")[0]
            names = [node.module] if root in UNPICKLING else []
            own = root in ("json", PACKAGE.name)
            names += [alias.name for alias in node.names if alias.name in LOADING and not own]
        elif isinstance(node, ast.Attribute) and node.attr in LOADING and ast.unparse(node.value) in LOADERS:
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_state_dict":
            hashed = any(word.arg == "check_hash" and ast.unparse(word.value) == "True" for word in node.keywords)
            names = [] if hashed else [ast.unparse(node)]
        found += [f"{path.name}:{node.lineno} {name}" for name in names]
    return found


@pytest.mark.parametrize("folder", ["lightning_coordconv", "benchmarks"])
def test_no_other_module_loads_or_unpickles(folder: str):
    paths = [path for path in (PACKAGE.parent / folder).rglob("*.py") if path != GATE]
    assert [place for path in paths for place in loads(path)] == []


def test_the_search_finds_loads(tmp_path: Path):
    path = tmp_path / "example.py"
    path.write_text(
        "import pickle\nfrom joblib import load\nimport json\njson.load\ntorch.load(x)\nnp.load(x)\n"
        "w.get_state_dict()\nw.get_state_dict(check_hash=True)\nm.load_state_dict(x)\n"
    )
    assert sorted(place.split(":")[1].split()[0] for place in loads(path)) == ["1", "2", "2", "5", "6", "7"]
    assert loads(GATE)


class Code:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def advised(path: Path) -> None:
    load_model(nn.Linear(64, 64), path)


def detector(path: Path) -> None:
    Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 3, weights=str(path))


def backbone(path: Path) -> None:
    Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 3, weights_backbone=str(path))


def agent(path: Path) -> None:
    """Read weights as those of the policy in an SB3 zip."""
    with zipfile.ZipFile("agent.zip", "w") as archive:
        archive.writestr(RECORD.decode(), path.read_bytes())
    load_agent(Path("agent.zip"))


def load_agent(path: Path) -> None:
    task = A2C(1, "MlpPolicy", initial_weights=str(path))
    task._build(spaces.Box(-1, 1, (4,)), spaces.Discrete(2))


READERS = [advised, detector, backbone, agent]


def flipped(content: bytes) -> bytes:
    middle = content.find(torch.ones(16).numpy().tobytes())
    return content[:middle] + b"\xff" + content[middle + 1 :]


def saved(value: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def compressed(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    return file.getvalue()


WEIGHTS = {"weight": torch.ones(64, 64), "bias": torch.ones(64)}
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "flipped bit": (lambda: flipped(saved(WEIGHTS)), "damaged"),
    "truncated": (lambda: saved(WEIGHTS)[:-100], "damaged"),
    "empty": (lambda: b"", "damaged"),
    "object": (lambda: saved({"weight": Code()}), "tensors and plain data only"),
    "object beside the weights": (lambda: saved({"state_dict": WEIGHTS, "notes": Code()}), "plain data only"),
    "without check sums": (lambda: saved(WEIGHTS, _use_new_zipfile_serialization=False), r"before version 1\.6"),
    "no state dict": (lambda: saved([1, 2]), "holds no state dict"),
    "keys that are no names": (lambda: saved({1: torch.ones(1)}), "holds no state dict"),
    "bomb": (lambda: compressed(saved({"weight": torch.zeros(10_000)})), "inflates to"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reader", slow_except([advised, agent], READERS))
def test_every_reader_refuses_what_is_no_file_of_weights(reader, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, reason = FILES[kind]
    if kind == "bomb":
        monkeypatch.setenv("COORDCONV_MAX_CHECKPOINT_BYTES", "30000")
    path = tmp_path / "weights.pth"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=reason) as info:
        reader(path)
    assert re.search(r"weights\.pth|agent\.zip", str(info.value))
    assert not (tmp_path / "executed").exists()


def test_a_flipped_bit_anywhere_in_an_sb3_zip_loads_no_other_weights(tmp_path):
    SB3A2C("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [4]}).save(tmp_path / "agent.zip")
    content = (tmp_path / "agent.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        weights = read_state_dict(io.BytesIO(archive.read("policy.pth")))
    generator = torch.Generator().manual_seed(0)
    refused: list[str] = []
    for place in torch.randint(len(content), (60,), generator=generator).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        (tmp_path / "changed.zip").write_bytes(changed)
        task = A2C(1, "MlpPolicy", policy_kwargs={"net_arch": [4]}, initial_weights=str(tmp_path / "changed.zip"))
        try:
            task._build(spaces.Box(-5, 5, (4,)), spaces.Discrete(2))
        except ValueError as error:
            refused.append(str(error))
        else:
            assert all(torch.equal(task.policy.state_dict()[name], weight) for name, weight in weights.items())
    assert len(refused) > 30
    assert all("changed.zip" in message for message in refused)


def test_data_modules_are_not_built_from_checkpoints(tmp_path):
    hostile = {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "os.system"}
    torch.save({"datamodule_hyper_parameters": hostile}, tmp_path / "hostile.ckpt")
    with pytest.raises(NotImplementedError, match="EnvironmentDataModule is not built from a checkpoint"):
        EnvironmentDataModule.load_from_checkpoint(tmp_path / "hostile.ckpt")
