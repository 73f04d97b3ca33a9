"""Tests of the benchmark that converts other libraries' models: its checks, time limit, list of models, and table."""

import copy
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.foreign import __main__ as command
from benchmarks.foreign import checks
from benchmarks.foreign.models import NAMES, Model, models
from benchmarks.foreign.table import table
from lightning_coordconv.layers import from_coordconv

TOO_LARGE = {"deepseek_vit", "gemma4_vit", "mobilenetv5", "qwen3_vit"}
"""Modules of timm whose smallest models have 88 million parameters or more."""
GOOD = {"equal": "", "sees coordinates": "", "fold": "", "load": "", "back": ""}


class Halved(nn.Conv2d):
    """A convolution that computes something else."""

    def forward(self, input):
        return super().forward(input) / 2


def small(*layers: nn.Module) -> Model:
    return Model("none", "small", "torch", lambda: (nn.Sequential(*layers), (torch.randn(1, 2, 8, 8),)))


def test_a_model_that_works():
    found = checks.surgery(small(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)))
    assert found == {"layers": "2", "left out": "", **GOOD}


def test_what_cannot_be_converted_is_left_out_and_named():
    found = checks.surgery(small(Halved(2, 3, 3), nn.Conv2d(3, 3, 3)))
    assert found["layers"] == "1"
    assert found["left out"] == "1 tests.Halved: its class overrides forward"


def test_a_model_without_a_convolution_does_not_count():
    with pytest.raises(checks.PlainModelError, match=r"no convolution that can be converted \(1 tests\.Halved"):
        checks.surgery(small(Halved(2, 3, 3)))
    with pytest.raises(checks.PlainModelError, match="it has none"):
        checks.surgery(small(nn.ReLU()))


def test_differences_are_found(monkeypatch):
    model = small(nn.Conv2d(2, 3, 3))
    monkeypatch.setattr(
        checks, "fold_coordconv", lambda network, _: from_coordconv(copy.deepcopy(network), discard=True)
    )
    assert checks.surgery(model)["fold"].startswith("outputs differ by")
    monkeypatch.undo()
    monkeypatch.setattr(checks, "from_coordconv", lambda network: network)
    assert checks.surgery(model)["back"] == "not the plain model again"


def test_models_that_fail_before_their_conversion_do_not_count():
    with pytest.raises(checks.PlainModelError, match="two calls with one input give two outputs"):
        checks.surgery(small(nn.Conv2d(2, 3, 3), Noise()))


class Noise(nn.Module):
    """Adds another number at each call."""

    calls = 0

    def forward(self, input):
        self.calls += 1
        return input + self.calls


def compute(model: Model) -> dict[str, str]:
    while True:
        pass


def wait(model: Model) -> dict[str, str]:
    time.sleep(60)
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "error"), [(compute, "took more than 1 s"), (wait, "the process ended without an answer")]
)
def test_a_check_ends_after_its_limit_of_cpu_time(check, error, monkeypatch):
    """So its outcome does not depend on what else the machine does; one that only waits ends too."""
    monkeypatch.setitem(command.STEPS, "surgery", (check, 1))
    monkeypatch.setattr(command, "PATIENCE", 2 if check is wait else 60)
    outcome = command.limited("surgery", small(nn.Conv2d(2, 3, 3)))
    assert outcome["error"] == error
    assert outcome["seconds"] < 10


def test_the_list_has_one_model_of_each_of_timms_modules():
    timm = pytest.importorskip("timm")
    folder = Path(timm.__file__).parent / "models"
    modules = {path.stem for path in folder.glob("[a-z]*.py") if timm.list_models(module=path.stem)}
    missing = {module for module in modules if not set(timm.list_models(module=module)) & set(NAMES["timm"])}
    assert missing <= TOO_LARGE


def test_every_model_has_another_name():
    names = [f"{model.library}/{model.name}" for model in models()]
    assert len(names) == len(set(names)) > 180


def test_the_table_counts_what_works_and_names_the_rest():
    good = {"found": {"layers": "1", "left out": "", **GOOD}}
    outcomes = {
        "one/good": {"surgery": good, "compile": {"found": {"": ""}}, "onnx": {"plain model": "no"}},
        "one/bad": {
            "surgery": {"found": {**good["found"], "fold": "outputs differ by 1.0e-01"}},
            "onnx": {"error": "E"},
        },
    }
    text = table({"models": outcomes, "listed": 3, "versions": {"one": "1.2", "torch": "2", "onnxruntime": "3"}})
    assert "2 of 3 models tried so far" in text
    assert "| one 1.2 | 2 | 2 of 2 | 2 of 2 | 2 of 2 | 1 of 2 | 1 of 1 | 0 of 1 |" in text
    assert "| one/bad | fold | outputs differ by 1.0e-01 |" in text
    assert "| one/good | ONNX | not counted, the plain model: no |" in text
