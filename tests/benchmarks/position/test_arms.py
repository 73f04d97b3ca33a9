"""Tests of the position benchmark's configs, networks, arms (which coordinates each network sees), runs and records."""

import dataclasses
import json
from typing import get_args

import pytest
import torch
from torch import nn

from benchmarks import results
from benchmarks.position import advice, configs, plan, run
from benchmarks.position.arms import ARMS, ArmName, convert
from benchmarks.position.configs import TASKS
from benchmarks.position.networks import DenseNet2d, HeatMapRegressor, SignalClassifier, SoftArgmax2d
from lightning_coordconv.layers import coordconv_layers
from lightning_coordconv.position import place

DETECTION = ("detection", "detection_sides")


def convolutions(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_one_step_of_each_arm_runs(name):
    """On a batch of the task's data, with gradients for the coordinate weights of every arm that has some."""
    task = TASKS[name]
    batch = next(iter(run.make_data(name, 0).train_dataloader()))
    for arm in task.arms:
        module = run.make_module(name, arm, seed=0)
        if name in DETECTION:
            loss = sum(module.net(list(batch["image"]), module.targets(batch)).values())
        else:
            loss = module.evaluate(batch)["loss"]
        assert torch.isfinite(loss), arm
        loss.backward()
        layers = coordconv_layers(module.net)
        assert (len(layers) > 0) == (ARMS[arm].where != "none")
        assert all(layer.coord_weight.grad.abs().max() > 0 for layer in layers.values()), arm


@pytest.mark.slow
@pytest.mark.parametrize("name", ["time_window", "masks_clevr"])
def test_a_run_writes_a_record_once(name, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], steps=2))
    run.run(name, "first", 3)
    record = json.loads((tmp_path / "position" / f"{name}_first" / "seed3.json").read_text())
    assert (record["experiment"], record["seed"], record["steps"]) == (f"position/{name}_first", 3, 2)
    assert f"test/{TASKS[name].metric}" in record["test"]
    assert f"val/{TASKS[name].metric}" in record["validation"]
    assert plan.is_done(name, "first", 3)
    assert run.run(name, "first", 3).endswith("done before")


def test_runs_come_with_the_seeds_outermost_and_encodings_last_with_three():
    planned = list(plan.runs([*TASKS, plan.AGENTS], list(range(5))))
    assert len(set(planned)) == len(planned)
    order = [(arm in plan.ENCODED, seed) for _, arm, seed in planned]
    assert order == sorted(order)
    seeds = {key: [seed for task, arm, seed in planned if (task, arm) == key] for key in {run[:2] for run in planned}}
    assert all(len(found) == (3 if arm in plan.ENCODED else 5) for (_, arm), found in seeds.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sensor", "wafers", "keypoint_heat_map", "digits_position", "time_window"])
def test_arms_of_a_seed_begin_with_the_same_weights(name):
    task = TASKS[name]
    nets = {arm: run.make_module(name, arm, seed=1).net for arm in task.arms}
    expected = nets["plain"].state_dict()
    for arm, net in nets.items():
        state = net.state_dict()
        assert all(torch.equal(state[key], value) for key, value in expected.items()), arm
        added = [key for key in state if key not in expected]
        assert all(key.endswith(("coord_weight", "encoding.values")) for key in added), arm
        modes = {module.padding_mode for module in convolutions(net)}
        assert modes == {"zeros" if ARMS[arm].zero_padding else "circular"}
    first = next(n for n, module in nets["first"].named_modules() if isinstance(module, nn.Conv1d | nn.Conv2d))
    assert list(coordconv_layers(nets["first"])) == [first]
    assert len(coordconv_layers(nets["advised"])) == 2
    for arm, limit in (("first", 1.1), ("advised", 1.15), ("first_fourier", 1.6)):
        assert weights(nets[arm]) < limit * weights(nets["plain"])


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_plain_arm_cannot_know_position_and_zero_padding_can():
    """Moving an image cyclically moves the output of the plain arm with it, and changes that of the other one."""
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = image.roll((5, 3), (2, 3))
    for arm, equal in (("plain", True), ("zero_padding", False)):
        torch.manual_seed(0)
        net = convert(DenseNet2d(1, 2), ARMS[arm], [])
        same = torch.allclose(net(image).roll((5, 3), (2, 3)), net(moved), atol=1e-5)
        assert same == equal


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_configs_name_the_places_of_the_advice(name):
    """The rule of ``advise``, applied to the plain network, whether or not it advises to convert."""
    net, data = advice.subject(name)
    image = data.dataset("val")[0]["image"]
    found = place(net.eval(), lambda: net(image[None]))
    assert TASKS[name].model["init_args"]["advised"] == found.names


@pytest.mark.parametrize("name", TASKS)
def test_configs_have_a_title_arms_and_a_unit(name):
    task = TASKS[name]
    assert task.title
    assert {"zero_padding", "first", "advised"} <= set(task.arms)
    assert len(set(task.arms)) == len(task.arms)
    assert task.kind.unit


def test_a_config_names_only_arms_that_there_are():
    for path in configs.FOLDER.glob("*.yaml"):
        named = path.read_text().partition("Arms of the benchmark:")[2].partition(".\n")[0]
        assert tuple(word.strip(" #\n") for word in named.split(",")) == TASKS[path.stem].arms


def test_the_arms_of_the_option_are_those_of_the_table():
    assert get_args(ArmName) == tuple(ARMS)


def test_signals_and_their_rows_are_the_same_network():
    torch.manual_seed(0)
    one, two = SignalClassifier(1, 3), SignalClassifier(1, 3, as_rows=True)
    two.load_state_dict({key: value.view_as(two.state_dict()[key]) for key, value in one.state_dict().items()})
    signal = torch.randn(2, 1, 128)
    torch.testing.assert_close(one(signal), two(signal[:, :, None]))


def test_spatial_softmax_finds_a_peak():
    heat = torch.full((1, 1, 8, 16), -50.0)
    heat[0, 0, 2, 11] = 50.0
    torch.testing.assert_close(SoftArgmax2d()(heat), torch.tensor([[11.5 / 8 - 1, 2.5 / 4 - 1]]))
    assert HeatMapRegressor(3)(torch.rand(2, 3, 48, 48)).shape == (2, 2)
